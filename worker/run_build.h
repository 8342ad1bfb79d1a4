/* run_build - `convoy-run build`: a network of layers becomes an ONNX model */
#ifndef CONVOY_WORKER_RUN_BUILD_H
#define CONVOY_WORKER_RUN_BUILD_H

/* argv[0] is the word "build". Returns the exit status. */
int run_build(int argc, char **argv);

#endif
