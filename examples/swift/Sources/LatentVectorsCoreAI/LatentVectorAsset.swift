// Written to Apple's published reference of Core AI (developer.apple.com/documentation/coreai: AIModel,
// InferenceFunction, NDArray), of the beta of iOS 27 and macOS 27. No machine of ours has run it yet.

#if canImport(CoreAI) && arch(arm64)
    import CoreAI
    import Foundation
    import LatentVectorsCore

    /// One function of an asset that lvm_fast exported: `predict_100`, `predict`, `step` or `topk`. One call at a time.
    @available(macOS 27.0, iOS 27.0, tvOS 27.0, visionOS 27.0, watchOS 27.0, *)
    public final class LatentVectorAsset: LatentVectorFunction {
        private struct State {
            let name: String
            var array: NDArray
        }

        private let function: InferenceFunction
        private var states: [State] = []

        /// - Parameters:
        ///   - asset: The asset: in an app, `Bundle.main.url(forResource: "model", withExtension: "aimodel")`.
        ///   - name: The function to run.
        ///   - options: Where Core AI may run it.
        public init(contentsOf asset: URL, function name: String, options: SpecializationOptions = .default) async throws {
            let model = try await AIModel(contentsOf: asset, options: options)
            guard let found = try model.loadFunction(named: name) else {
                throw LatentVectorError.missingFunction(name)
            }
            function = found
        }

        /// The next vector after a context, oldest vector first. For `predict_N` the context has N vectors.
        public func predict(context: [[Float]]) async throws -> Prediction {
            let (numbers, width) = try flattened(context)
            let rows = NDArray(scalars: numbers, shape: [1, context.count, width])
            return try await Self.prediction(function.run(inputs: ["context": rows]))
        }

        /// The next vector after all vectors since the last `reset`, of which this is the newest. For `step` only. Where
        /// it throws, the stream begins anew.
        public func step(vector: [Float]) async throws -> Prediction {
            let row = NDArray(scalars: vector, shape: [1, vector.count])
            let kept = try states.isEmpty ? zeros() : states
            states = []  // so that nothing else holds them while they change
            let (prediction, moved) = try await run(["vector": row], binding: kept, InferenceFunction.MutableViews())
            states = moved
            return prediction
        }

        /// Forget the vectors pushed so far.
        public func reset() {
            states = []
        }

        /// The vectors of the asset's bank that are nearest to the `query` of a prediction, best first. For `topk` only.
        public func nearest(to query: [Float]) async throws -> [Neighbour] {
            let row = NDArray(scalars: query, shape: [1, query.count])
            var outputs = try await function.run(inputs: ["query": row])
            let ids = try Self.row("ids", of: &outputs, as: Int32.self)
            let scores = try Self.row("scores", of: &outputs, as: Float.self)
            return zip(ids, scores).map { Neighbour(id: Int($0), score: $1) }
        }

        /// Binds the states one by one, each for as long as the views are in use, and runs the function.
        private func run(
            _ inputs: [String: NDArray], binding waiting: consuming [State],
            _ views: consuming InferenceFunction.MutableViews
        ) async throws -> (Prediction, [State]) {
            guard var state = waiting.popLast() else {
                return (try await Self.prediction(function.run(inputs: inputs, states: views)), [])
            }
            views.insert(&state.array, for: state.name)
            let (prediction, others) = try await run(inputs, binding: waiting, views)
            return (prediction, others + [state])
        }

        /// The states before the first vector.
        private func zeros() throws -> [State] {
            try function.descriptor.stateNames.map { name in
                guard case .ndArray(let kind)? = function.descriptor.stateDescriptor(of: name) else {
                    throw LatentVectorError.missingOutput(name)
                }
                let count = kind.shape.reduce(1, *)
                let isHalf = kind.scalarType == .float16
                let array =
                    isHalf
                    ? NDArray(scalars: repeatElement(Float16(0), count: count), shape: kind.shape)
                    : NDArray(scalars: repeatElement(Float(0), count: count), shape: kind.shape)
                return State(name: name, array: array)
            }
        }

        private static func prediction(_ found: consuming InferenceFunction.Outputs) throws -> Prediction {
            var outputs = found
            let nextVector = try row("next_vector", of: &outputs, as: Float.self)
            let delta = try row("delta", of: &outputs, as: Float.self)
            let query = try? row("query", of: &outputs, as: Float.self)
            return Prediction(nextVector: nextVector, delta: delta, query: query ?? nextVector)
        }

        /// The numbers of an output (1, W).
        private static func row<Scalar: BitwiseCopyable>(
            _ name: String, of outputs: inout InferenceFunction.Outputs, as scalar: Scalar.Type
        ) throws -> [Scalar] {
            guard let value = outputs.remove(name), let array = value.ndArray else {
                throw LatentVectorError.missingOutput(name)
            }
            return array.view(as: scalar).withUnsafePointer { pointer, shape, strides in
                (0..<shape[1]).map { pointer[$0 * strides[1]] }
            }
        }
    }
#endif
