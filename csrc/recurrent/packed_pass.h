// One way through a packed model, and all the buffers for it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cache_line_vector.h"
#include "recurrent/packed_model.h"

namespace lvm {

// The length of a vector, but no less than torch's normalize divides by.
float length_of(const float* x, int64_t count);

class PackedPass {
  public:
    using States = PackedModel::States;

    PackedPass(const PackedModel& model, int64_t steps, int64_t batch);

    bool fits(const PackedModel& model, int64_t steps, int64_t batch) const;
    void run(const PackedModel& model, const float* context, int64_t steps, States& states);

    // The delta of a sequence, [D], before it is scaled.
    const float* raw(int64_t row) const;

  private:
    struct Range {
        int64_t first, last;
    };
    // Codes of a few vectors, and room for one vector before it becomes codes.
    struct Scratch {
        CacheLineVector<uint8_t> codes;
        CacheLineVector<float> scales, numbers;
    };

    static Range part_of(int64_t count, int share, int shares);
    Range blocks_of(const PackedMatrix& matrix, int share) const;

    void enter(int64_t chunk, int64_t phase, int share);
    void recur(int64_t chunk, int64_t layer, int64_t phase, int share, States& states);
    void prepare_inputs(int64_t first, int64_t rows, int64_t layer, int share);
    const float* input_of(int64_t first, int64_t row, int64_t layer, int share);
    const float* normed_block(int64_t layer, const float* x, const float* state, int share, float* out);
    void project(const PackedMatrix& matrix, int64_t rows, int share, float* out);
    void step(int64_t t, bool is_last, int64_t layer, int share, States& states, bool swapped);
    void encode(const PackedMatrix& matrix, int64_t b, const float* x, int64_t count, int share);
    void multiply(const PackedMatrix& matrix, const float* x, int64_t stride, int64_t count, int share,
                  float* out);
    void multiply_codes(const PackedMatrix& matrix, int share, float* out);
    void head(int phase, int share);
    void make_output(int share);
    void read_memory(int share);
    void widen(int share);
    void gelu(const PackedMatrix& matrix, int64_t b, const float* addend, int share, float* out);

    const float* key(int64_t b) const { return keys_.data() + b * model_->keys_.outputs; }
    float* sequence(int64_t layer) { return sequences_[layer & 1].data(); }
    float* block(int64_t layer) { return blocks_[layer & 1].data(); }
    Scratch& at(int share) { return scratch_[static_cast<size_t>(share)]; }

    const int64_t batch_, rows_;  // rows_: vectors of a chunk
    int shares_;
    int64_t code_bytes_;
    CacheLineVector<uint8_t> codes_;  // of the inputs of a layer
    CacheLineVector<float> scales_, projected_, products_, sequences_[2], blocks_[2];
    CacheLineVector<float> keys_, contents_, wide_, raw_;
    std::vector<Scratch> scratch_;

    // of the run
    const PackedModel* model_ = nullptr;
    const float* context_ = nullptr;
    const float* final_ = nullptr;        // the last layer's states after the last step
    const float* final_block_ = nullptr;  // and its inputs there
    int64_t steps_ = 0, chunk_ = 0;
};

}  // namespace lvm
