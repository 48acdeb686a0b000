// Every kernel for ARMv8.2 CPUs with dot products of bytes.
#include "simd/ints_neon.h"
#include "simd/vec_neon.h"

#define LVM_LEVEL neon
#include "gemm/gemm-inl.h"
#include "recurrent/activations-inl.h"
#include "recurrent/gru-inl.h"
#include "recurrent/lstm-inl.h"
#include "recurrent/packed_weights_neon-inl.h"
#include "retrieval/screen_dot-inl.h"
#include "rowwise/row_kernels-inl.h"
