// Every kernel for CPUs with AVX-512 (F, BW, DQ, VL) and VNNI.
#include "simd/ints_avx512.h"
#include "simd/vec_avx512.h"

#define LVM_LEVEL avx512
#include "gemm/gemm-inl.h"
#include "recurrent/activations-inl.h"
#include "recurrent/gru-inl.h"
#include "recurrent/lstm-inl.h"
#include "recurrent/packed_weights_avx512-inl.h"
#include "retrieval/screen_dot-inl.h"
#include "rowwise/row_kernels-inl.h"
