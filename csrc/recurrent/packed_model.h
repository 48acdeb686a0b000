// A recurrent model that answers one context, or streams, at a time: all of its weights packed once, in
// float32, bfloat16 or int8, and each core of the machine at work on its own part of every layer.
//
//   x = input norm and entry map of the vector, where there are some
//   each layer: h = GRU or LSTM of x; then x = h, or with block norms x = LayerNorm(x + h)
//   delta = output map of x, or what a memory GRU makes of it (PackedMemory)
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

// D numbers a vector, H units, L layers, S slots of memory (0: no memory).
struct PackedModelSizes {
    int64_t input, hidden, layers, slots;
};

enum class Cell { gru, lstm };

// Row-major float32; read by the constructor alone. What a model lacks is null or empty.
struct PackedModelWeights {
    struct Layer {  // as torch.nn.GRU and torch.nn.LSTM; G gates, layer 0: [G H][D], or [G H][H] after an
                    // entry map
        const float *weight_ih, *weight_hh, *bias_ih, *bias_hh;
    };
    struct Norm {
        const float *weight, *bias;
        float epsilon;
    };
    Cell cell = Cell::gru;
    std::vector<Layer> layers;
    Norm input_norm;                    // [D]
    const float *entry, *entry_bias;    // [H][D]
    std::vector<Norm> block_norms;      // [H], one a layer
    const float *output, *output_bias;  // [D][H], where there is no memory
    // of a memory
    const float *keys, *keys_bias;  // [S + D + H][H]: unit slots times query projection; query projection;
                                    // what the fusion makes of the state
    const float *contents, *contents_bias;  // [H][S]: what the fusion makes of each slot; [H]: the mean of it
    Norm fusion_norm;                       // [H]
    const float *widen, *widen_bias;        // [2H][H]
    const float *narrow, *narrow_bias;      // [D][2H]
    bool unit_delta;                        // the delta is scaled to length 1
};

class PackedPass;

class PackedModel {
  public:
    PackedModel(const PackedModelSizes& sizes, const PackedModelWeights& weights, Format format);
    ~PackedModel();

    const PackedModelSizes& sizes() const { return sizes_; }

    // The states of `batch` sequences, zero at first.
    class States {
      public:
        States(const PackedModel& model, int64_t batch);
        void reset();
        int64_t batch() const { return batch_; }

        // Of some sequences: begin them anew, copy their states, put copies back.
        void reset(const std::vector<int64_t>& rows);
        States taken(const std::vector<int64_t>& rows) const;
        void put(const std::vector<int64_t>& rows, const States& from);

      private:
        friend class PackedModel;
        friend class PackedPass;
        States(int64_t batch, int64_t layers, int64_t units);
        float* at(int64_t layer, int64_t row) { return now_.data() + (layer * batch_ + row) * units_; }
        const float* at(int64_t layer, int64_t row) const {
            return now_.data() + (layer * batch_ + row) * units_;
        }

        int64_t batch_, layers_,
            units_;  // layers_: twice as many for an LSTM, the cells of each after its states
        CacheLineVector<float> now_, next_;  // [layers_][B][units, padded]
    };

    // Takes `steps` steps from the states, which move on, and predicts what comes after the last of them.
    // context: [steps][B][D], steps >= 1; next: [B][D]. Returns false, with nothing changed but `next`, if a
    // number of the context is NaN or infinite; and if a prediction is, then with the states moved on. Where
    // poll() ends it, the states are as before.
    bool advance(const float* context, int64_t steps, States& states, float* next) const;

  private:
    friend class PackedPass;
    struct Layer {
        PackedMatrix inputs, recurrence;
    };
    struct Norm {
        std::vector<float> weight, bias;
        float epsilon = 0;
    };

    int64_t gates() const { return cell_ == Cell::gru ? 3 : 4; }
    int64_t units() const { return layers_[0].recurrence.outputs / gates(); }
    int64_t states_of_layer() const { return cell_ == Cell::gru ? 1 : 2; }
    bool has_memory() const { return sizes_.slots > 0; }

    PackedModelSizes sizes_;
    Cell cell_;
    bool unit_delta_;
    const PackedKernels& packed_;
    const ActivationKernels& activations_;
    const FormatKernels& format_;
    BigBuffer memory_;  // of all matrices
    std::vector<Layer> layers_;
    PackedMatrix entry_, output_, keys_, contents_, widen_, narrow_;
    Norm input_norm_, fusion_norm_;
    std::vector<Norm> block_norms_;
    mutable std::mutex spare_mutex_;             // tried, never waited for: a fork may leave it locked
    mutable std::unique_ptr<PackedPass> spare_;  // the buffers of the last pass, for the next one
};

}  // namespace lvm
