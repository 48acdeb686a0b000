import CoreML
import Foundation
import LatentVectors

/// How near to what is expected the outputs of one function came.
struct Finding {
    let function: String
    let words: String
    let passed: Bool
}

/// Runs every function of a package on the inputs that NAME.expected.safetensors beside it holds, and holds it to the
/// limits that it saves.
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
        var findings: [Finding] = []
        for function in expectations.functions(of: name) {
            let model = try LatentVectorModel(compiled: compiled, function: function == "main" ? nil : function)
            let parts = Parts(expectations: expectations, prefix: "\(name)/\(function)")
            try findings.append(finding(model, function: function, parts: parts, limits: limits))
        }
        for finding in findings {
            print("\(finding.function): \(finding.words)\(finding.passed ? "" : "  WRONG")")
        }
        exit(!findings.isEmpty && findings.allSatisfy { $0.passed } ? 0 : 1)
    }

    static func finding(
        _ model: LatentVectorModel, function: String, parts: Parts, limits: Limits
    ) throws -> Finding {
        if let scores = parts.rows("scores") {
            let found = try (parts.rows("query") ?? []).map { (query: [Float]) in try model.nearest(to: query) }
            let error = scoreError(found, scores: scores, ids: parts.ids("ids") ?? [])
            let words = "largest error of a score \(error), at most \(limits.max_score_error)"
            return Finding(function: function, words: words, passed: error <= limits.max_score_error)
        }
        let found: [Prediction]
        if let vectors = parts.rows("vector") {
            found = try vectors.map { (vector: [Float]) in try model.step(vector: vector) }
        } else {
            found = [try model.predict(context: parts.rows("context") ?? [])]
        }
        let vectors = parts.rows("next_vector") ?? []
        let cosine = leastCosine(
            found.map(\.nextVector) + found.map(\.query), vectors + (parts.rows("query") ?? vectors))
        let words = "least cosine with the model \(cosine), at least \(limits.min_cosine)"
        return Finding(function: function, words: words, passed: cosine >= limits.min_cosine)
    }

    /// The least inner product, which is the cosine of unit vectors; not a number where one is not, or rows are missing.
    static func leastCosine(_ found: [[Float]], _ wanted: [[Float]]) -> Float {
        guard !wanted.isEmpty, found.map(\.count) == wanted.map(\.count) else { return .nan }
        return zip(found, wanted).reduce(Float(1)) { least, pair in
            let cosine = zip(pair.0, pair.1).reduce(Float(0)) { $0 + $1.0 * $1.1 }
            return cosine.isNaN || least.isNaN ? .nan : Swift.min(least, cosine)
        }
    }

    /// The largest error of a score; also the score of an id with that expected of it, or with the last expected one
    /// where the id is none of those expected. Not a number where a score is not, or rows are missing.
    static func scoreError(_ found: [[Neighbour]], scores: [[Float]], ids: [[Int32]]) -> Float {
        guard !scores.isEmpty, found.map(\.count) == scores.map(\.count), scores.map(\.count) == ids.map(\.count) else {
            return .nan
        }
        var errors: [Float] = []
        for (row, neighbours) in found.enumerated() {
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
