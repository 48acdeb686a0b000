// Every kernel for CPUs with AVX2, FMA and F16C.
#include "simd/vec_avx2.h"

#define LVM_LEVEL avx2
#include "gemm/gemm-inl.h"
#include "recurrent/activations-inl.h"
#include "recurrent/gru-inl.h"
#include "recurrent/lstm-inl.h"
#include "recurrent/packed_weights_avx2-inl.h"
#include "retrieval/screen_avx2-inl.h"
#include "rowwise/row_kernels-inl.h"
