// Every kernel in plain C++: for any CPU, and what the others are tested against.
#include "simd/ints_scalar.h"
#include "simd/vec_scalar.h"

#define LVM_LEVEL scalar
#include "gemm/gemm-inl.h"
#include "recurrent/activations-inl.h"
#include "recurrent/gru-inl.h"
#include "recurrent/lstm-inl.h"
#include "recurrent/packed_weights_scalar-inl.h"
#include "retrieval/screen_dot-inl.h"
#include "rowwise/row_kernels-inl.h"
