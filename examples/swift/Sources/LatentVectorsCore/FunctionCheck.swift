/// Compares the outputs of one function with the expected ones.
public struct FunctionCheck: Sendable {
    public let function: String
    public let text: String
    public let passed: Bool

    /// Run a function on the expected inputs, and hold its outputs to the limits.
    public init(
        _ model: some LatentVectorFunction, function: String, parts: Parts, limits: Limits
    ) async throws {
        self.function = function
        if let scores = parts.rows("scores") {
            var got: [[Neighbour]] = []
            for query in parts.rows("query") ?? [] {
                try await got.append(model.nearest(to: query))
            }
            let error = scoreError(got, scores: scores, ids: parts.ids("ids") ?? [])
            text = "largest error of a score \(error), at most \(limits.max_score_error)"
            passed = error <= limits.max_score_error
            return
        }
        var got: [Prediction] = []
        if let vectors = parts.rows("vector") {
            for vector in vectors {
                try await got.append(model.step(vector: vector))
            }
        } else {
            try await got.append(model.predict(context: parts.rows("context") ?? []))
        }
        let vectors = parts.rows("next_vector") ?? []
        let expected = vectors + (parts.rows("query") ?? vectors)
        let cosine = leastCosine(got.map(\.nextVector) + got.map(\.query), expected)
        text = "least cosine with the model \(cosine), at least \(limits.min_cosine)"
        passed = cosine >= limits.min_cosine
    }
}

/// Returns the least inner product, which is the cosine of unit vectors; NaN where one is NaN or rows are missing.
public func leastCosine(_ got: [[Float]], _ expected: [[Float]]) -> Float {
    guard !expected.isEmpty, got.map(\.count) == expected.map(\.count) else { return .nan }
    return zip(got, expected).reduce(Float(1)) { least, pair in
        let cosine = zip(pair.0, pair.1).reduce(Float(0)) { $0 + $1.0 * $1.1 }
        return cosine.isNaN || least.isNaN ? .nan : Swift.min(least, cosine)
    }
}

/// Returns the largest error of a score, and of an id's score from the one expected of this id; an unexpected id is
/// compared with the last expected score. NaN where a score is NaN or rows are missing.
public func scoreError(_ got: [[Neighbour]], scores: [[Float]], ids: [[Int32]]) -> Float {
    guard !scores.isEmpty, got.map(\.count) == scores.map(\.count), scores.map(\.count) == ids.map(\.count) else {
        return .nan
    }
    var errors: [Float] = []
    for (row, neighbours) in got.enumerated() {
        if Set(neighbours.map(\.id)).count < neighbours.count { return .infinity }
        for (place, neighbour) in neighbours.enumerated() {
            let known = ids[row].firstIndex(of: Int32(neighbour.id)) ?? scores[row].count - 1
            errors.append(abs(neighbour.score - scores[row][place]))
            errors.append(abs(neighbour.score - scores[row][known]))
        }
    }
    return errors.contains(where: \.isNaN) ? .nan : errors.max() ?? .nan
}
