/* grads - the functions that grads.def names; struct grad in pass.h says what each does */
#ifndef CONVOY_WORKER_TRAIN_GRADS_H
#define CONVOY_WORKER_TRAIN_GRADS_H

#include "worker/train/pass.h"

enum status conv_forward(struct pass *pass, struct error *why);
enum status batch_norm_forward(struct pass *pass, struct error *why);
enum status dropout_forward(struct pass *pass, struct error *why);
enum status rnn_forward(struct pass *pass, struct error *why);
enum status conv_setup(struct pass *pass, struct error *why);
enum status pool_setup(struct pass *pass, struct error *why);
enum status gemm_setup(struct pass *pass, struct error *why);
enum status matmul_setup(struct pass *pass, struct error *why);
enum status unary_setup(struct pass *pass, struct error *why);
enum status softmax_setup(struct pass *pass, struct error *why);
enum status batch_norm_setup(struct pass *pass, struct error *why);
enum status layer_norm_setup(struct pass *pass, struct error *why);
enum status reduce_setup(struct pass *pass, struct error *why);
enum status dropout_setup(struct pass *pass, struct error *why);
enum status move_setup(struct pass *pass, struct error *why);
enum status gather_setup(struct pass *pass, struct error *why);
enum status rnn_setup(struct pass *pass, struct error *why);
void conv_backward(struct pass *pass);
void pool_backward(struct pass *pass);
void pool_global_backward(struct pass *pass);
void product_backward(struct pass *pass);
void unary_backward(struct pass *pass);
void clip_backward(struct pass *pass);
void selu_backward(struct pass *pass);
void binary_backward(struct pass *pass);
void softmax_backward(struct pass *pass);
void batch_norm_backward(struct pass *pass);
void layer_norm_backward(struct pass *pass);
void reduce_backward(struct pass *pass);
void dropout_backward(struct pass *pass);
void view_backward(struct pass *pass);
void move_backward(struct pass *pass);
void gather_backward(struct pass *pass);
void rnn_backward(struct pass *pass);
void conv_release(struct pass *pass);

#endif
