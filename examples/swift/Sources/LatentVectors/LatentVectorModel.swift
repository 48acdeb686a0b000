#if canImport(CoreML)
    import CoreML
    import Foundation
    import LatentVectorsCore

    /// One function of a package that lvm_fast exported: `predict_100`, `predict`, `step` or `topk`.
    public final class LatentVectorModel: LatentVectorFunction {
        private let model: MLModel
        private var state: MLState?

        /// - Parameters:
        ///   - compiled: The compiled package: in an app, `Bundle.main.url(forResource: "model", withExtension: "mlmodelc")`.
        ///   - function: The function to run; nil for packages of older systems, which hold one without a name.
        ///   - units: Where Core ML may run it.
        public init(compiled: URL, function: String?, units: MLComputeUnits = .all) throws {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = units
            if let function {
                configuration.functionName = function
            }
            model = try MLModel(contentsOf: compiled, configuration: configuration)
        }

        /// The next vector after a context, oldest vector first. For `predict_N` the context has N vectors.
        public func predict(context: [[Float]]) throws -> Prediction {
            let (numbers, width) = try flattened(context)
            let rows = MLShapedArray<Float>(scalars: numbers, shape: [1, context.count, width])
            return try Prediction(outputs: model.prediction(from: features("context", rows)))
        }

        /// The next vector after all vectors since the last `reset`, of which this is the newest. For `step` only.
        public func step(vector: [Float]) throws -> Prediction {
            let kept = state ?? model.makeState()
            state = kept
            let row = MLShapedArray<Float>(scalars: vector, shape: [1, vector.count])
            return try Prediction(outputs: model.prediction(from: features("vector", row), using: kept))
        }

        /// Forget the vectors pushed so far.
        public func reset() {
            state = nil
        }

        /// The vectors of the package's bank that are nearest to the `query` of a prediction, best first. For `topk` only.
        public func nearest(to query: [Float]) throws -> [Neighbour] {
            let row = MLShapedArray<Float>(scalars: query, shape: [1, query.count])
            let outputs = try model.prediction(from: features("query", row))
            let ids = try MLShapedArray<Int32>(outputs.array("ids")).scalars
            let scores = try MLShapedArray<Float>(outputs.array("scores")).scalars
            return zip(ids, scores).map { Neighbour(id: Int($0), score: $1) }
        }

        private func features(_ name: String, _ values: MLShapedArray<Float>) throws -> MLFeatureProvider {
            try MLDictionaryFeatureProvider(dictionary: [name: MLFeatureValue(multiArray: MLMultiArray(values))])
        }
    }

    extension Prediction {
        fileprivate init(outputs: MLFeatureProvider) throws {
            let searched = outputs.featureNames.contains("query") ? "query" : "next_vector"
            try self.init(
                nextVector: MLShapedArray<Float>(outputs.array("next_vector")).scalars,
                delta: MLShapedArray<Float>(outputs.array("delta")).scalars,
                query: MLShapedArray<Float>(outputs.array(searched)).scalars)
        }
    }

    extension MLFeatureProvider {
        fileprivate func array(_ name: String) throws -> MLMultiArray {
            guard let array = featureValue(for: name)?.multiArrayValue else {
                throw LatentVectorError.missingOutput(name)
            }
            return array
        }
    }
#endif
