/* run_train - `convoy-run train`: a network learns on this machine, without a fleet */
#ifndef CONVOY_WORKER_RUN_TRAIN_H
#define CONVOY_WORKER_RUN_TRAIN_H

/* argv[0] is the word "train". Returns the exit status. */
int run_train(int argc, char **argv);

#endif
