/// The predicted embedding of the next chunk, at unit length, and the step that leads there from the last one. A model
/// with a space takes the step in the space, and searches there with `query`; for all others `query` is `nextVector`.
public struct Prediction: Sendable {
    public let nextVector: [Float]
    public let delta: [Float]
    public let query: [Float]

    public init(nextVector: [Float], delta: [Float], query: [Float]) {
        self.nextVector = nextVector
        self.delta = delta
        self.query = query
    }
}

/// A vector of a bank: its place in the bank, and its cosine with the query.
public struct Neighbour: Equatable, Sendable {
    public let id: Int
    public let score: Float

    public init(id: Int, score: Float) {
        self.id = id
        self.score = score
    }
}

public enum LatentVectorError: Error, Equatable {
    case missingFunction(String)
    case missingOutput(String)
    case unevenContext
    case zeroVector(Int)
    case unevenVectors(Int)
}

/// One function of an exported package or asset: `predict_100`, `predict`, `step` or `topk`.
public protocol LatentVectorFunction {
    /// The next vector after a context, oldest vector first. For `predict_N` the context has N vectors.
    func predict(context: [[Float]]) async throws -> Prediction

    /// The next vector after all vectors pushed so far, of which this is the newest. For `step` only.
    func step(vector: [Float]) async throws -> Prediction

    /// The vectors of the bundled bank that are nearest to the `query` of a prediction, best first. For `topk` only.
    func nearest(to query: [Float]) async throws -> [Neighbour]
}

/// The numbers of a context, row by row, and its width. Throws where the rows differ in length.
public func flattened(_ context: [[Float]]) throws -> (numbers: [Float], width: Int) {
    guard let width = context.first?.count, context.allSatisfy({ $0.count == width }) else {
        throw LatentVectorError.unevenContext
    }
    return (context.flatMap { $0 }, width)
}
