// Norms and normalisation of stored rows, shared by the bank and its queries.
#pragma once

#include <string>
#include <vector>

#include "rows.h"

namespace lvm {

// ||row i|| in float64 for every row. Throws std::invalid_argument, naming `what` and the row, on NaN or
// infinity and, where `directions` are needed, on a zero row.
std::vector<double> checked_norms(const Rows& rows, bool directions, const std::string& what);

// Row i as float32: widened and, if `norm` is not zero, divided by it.
void load_row(const Rows& rows, int64_t i, double norm, float* out);

}  // namespace lvm
