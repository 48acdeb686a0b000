// A memory GRU that answers one context, or a few streams, at a time: all of its weights packed once, in
// float32, bfloat16 or int8, and each core of the machine at work on its own part of every layer.
//
// What bounds it is how fast weights come in. A context takes the recurrence layer by layer, so that a core's
// half of a layer stays in its own cache; a single step reads every weight once, from memory or a shared
// cache.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/big_buffer.h"
#include "core/cache_line_vector.h"
#include "recurrent/activations.h"
#include "recurrent/packed_weights.h"

namespace lvm {

// D numbers a vector, H units, L layers, S slots of memory.
struct MemoryGruSizes {
    int64_t input, hidden, layers, slots;
};

// Row-major float32; read by the constructor alone.
struct MemoryGruWeights {
    struct Layer {
        const float *weight_ih, *weight_hh, *bias_ih, *bias_hh;  // as torch.nn.GRU; layer 0: [3H][D]
    };
    struct Norm {
        const float *weight, *bias;
        float epsilon;
    };
    std::vector<Layer> layers;
    Norm input_norm;                // [D]
    const float *keys, *keys_bias;  // [S + D + H][H]: unit slots times query projection; query projection;
                                    // what the fusion makes of the state
    const float *contents, *contents_bias;  // [H][S]: what the fusion makes of each slot; [H]: the mean of it
    Norm fusion_norm;                       // [H]
    const float *widen, *widen_bias;        // [2H][H]
    const float *narrow, *narrow_bias;      // [D][2H]
    bool unit_delta;                        // the delta is scaled to length 1
};

class MemoryGru {
  public:
    MemoryGru(const MemoryGruSizes& sizes, const MemoryGruWeights& weights, Format format);
    ~MemoryGru();

    const MemoryGruSizes& sizes() const { return sizes_; }

    // Hidden states of `batch` sequences, zero at first.
    class States {
      public:
        States(const MemoryGru& model, int64_t batch);
        void reset();
        int64_t batch() const { return batch_; }

      private:
        friend class MemoryGru;
        int64_t batch_;
        CacheLineVector<float> now_, next_;  // [L][B][units, padded]
    };

    // Takes `steps` steps from the states, which move on, and predicts what comes after the last of them.
    // context: [steps][B][D], steps >= 1; next: [B][D]. Returns false, with nothing changed but `next`, if a
    // number of the context is NaN or infinite; and if a prediction is, then with the states moved on. Where
    // poll() ends it, the states are as before.
    bool advance(const float* context, int64_t steps, States& states, float* next) const;

  private:
    struct Layer {
        PackedMatrix inputs, recurrence;
    };
    struct Norm {
        std::vector<float> weight, bias;
        float epsilon = 0;
    };
    class Pass;

    MemoryGruSizes sizes_;
    bool unit_delta_;
    const PackedKernels& packed_;
    const ActivationKernels& activations_;
    const FormatKernels& format_;
    BigBuffer memory_;  // of all matrices
    std::vector<Layer> layers_;
    PackedMatrix keys_, contents_, widen_, narrow_;
    Norm input_norm_, fusion_norm_;
    mutable std::mutex spare_mutex_;       // tried, never waited for: a fork may leave it locked
    mutable std::unique_ptr<Pass> spare_;  // the buffers of the last pass, for the next one
};

}  // namespace lvm
