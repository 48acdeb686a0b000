import CoreML
import Foundation
import LatentVectors

/// Compares the outputs of one function with the expected ones.
struct FunctionCheck {
    let function: String
    let text: String
    let passed: Bool
}

/// Runs every function of a package on the inputs of NAME.expected.safetensors beside it, and checks the outputs against
/// the limits in that file.
@main
struct Check {
    static func main() async throws {
        guard CommandLine.arguments.count == 2 else {
            print("usage: check path/to/model.mlpackage")
            exit(2)
        }
        let package = URL(fileURLWithPath: CommandLine.arguments[1])
        let name = package.deletingPathExtension().lastPathComponent
        let expected = package.deletingLastPathComponent().appendingPathComponent("\(name).expected.safetensors")
        let expectations = try Expectations(contentsOf: expected)
        let limits = try expectations.limits(of: name)
        let compiled = try await MLModel.compileModel(at: package)
        var checks: [FunctionCheck] = []
        for function in expectations.functions(of: name) {
            let model = try LatentVectorModel(compiled: compiled, function: function == "main" ? nil : function)
            let parts = Parts(expectations: expectations, prefix: "\(name)/\(function)")
            try checks.append(checkFunction(model, function: function, parts: parts, limits: limits))
        }
        for check in checks {
            print("\(check.function): \(check.text)\(check.passed ? "" : "  WRONG")")
        }
        exit(!checks.isEmpty && checks.allSatisfy { $0.passed } ? 0 : 1)
    }

    static func checkFunction(
        _ model: LatentVectorModel, function: String, parts: Parts, limits: Limits
    ) throws -> FunctionCheck {
        if let scores = parts.rows("scores") {
            let got = try (parts.rows("query") ?? []).map { (query: [Float]) in try model.nearest(to: query) }
            let error = scoreError(got, scores: scores, ids: parts.ids("ids") ?? [])
            let text = "largest error of a score \(error), at most \(limits.max_score_error)"
            return FunctionCheck(function: function, text: text, passed: error <= limits.max_score_error)
        }
        let got: [Prediction]
        if let vectors = parts.rows("vector") {
            got = try vectors.map { (vector: [Float]) in try model.step(vector: vector) }
        } else {
            got = [try model.predict(context: parts.rows("context") ?? [])]
        }
        let vectors = parts.rows("next_vector") ?? []
        let cosine = leastCosine(
            got.map(\.nextVector) + got.map(\.query), vectors + (parts.rows("query") ?? vectors))
        let text = "least cosine with the model \(cosine), at least \(limits.min_cosine)"
        return FunctionCheck(function: function, text: text, passed: cosine >= limits.min_cosine)
    }

    /// Returns the least inner product, which is the cosine of unit vectors; NaN where one is NaN or rows are missing.
    static func leastCosine(_ got: [[Float]], _ expected: [[Float]]) -> Float {
        guard !expected.isEmpty, got.map(\.count) == expected.map(\.count) else { return .nan }
        return zip(got, expected).reduce(Float(1)) { least, pair in
            let cosine = zip(pair.0, pair.1).reduce(Float(0)) { $0 + $1.0 * $1.1 }
            return cosine.isNaN || least.isNaN ? .nan : Swift.min(least, cosine)
        }
    }

    /// Returns the largest error of a score, and of an id's score from the one expected of this id; an unexpected id is
    /// compared with the last expected score. NaN where a score is NaN or rows are missing.
    static func scoreError(_ got: [[Neighbour]], scores: [[Float]], ids: [[Int32]]) -> Float {
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
}
