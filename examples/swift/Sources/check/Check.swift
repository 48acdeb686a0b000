import CoreML
import Foundation
import LatentVectors

/// Runs every function of a package on the inputs of expected.safetensors, and compares.
@main
struct Check {
    static func main() async throws {
        guard CommandLine.arguments.count == 2 else {
            print("usage: check path/to/model.mlpackage")
            exit(2)
        }
        let package = URL(fileURLWithPath: CommandLine.arguments[1])
        let name = package.deletingPathExtension().lastPathComponent
        let expected = package.deletingLastPathComponent().appendingPathComponent("expected.safetensors")
        let expectations = try Expectations(contentsOf: expected)
        let compiled = try await MLModel.compileModel(at: package)
        let cosines = try leastCosines(of: name, compiled: compiled, expectations: expectations)
        for (function, cosine) in cosines {
            print("\(function): least cosine with the model \(cosine)")
        }
        exit(!cosines.isEmpty && cosines.allSatisfy { $0.1 > 0.97 } ? 0 : 1)
    }

    static func leastCosines(
        of name: String, compiled: URL, expectations: Expectations
    ) throws -> [(String, Float)] {
        try expectations.functions(of: name).compactMap { function in
            let part = { expectations.rows("\(name)/\(function)/\($0)") }
            guard let wanted = part("next_vector") else { return nil }  // topk has none
            let model = try LatentVectorModel(compiled: compiled, function: function == "main" ? nil : function)
            let found: [[Float]]
            if let vectors = part("vector") {
                found = try vectors.map { try model.step(vector: $0).nextVector }
            } else {
                found = [try model.predict(context: part("context") ?? []).nextVector]
            }
            return (function, zip(found, wanted).map(dot).min() ?? -1)
        }
    }

    /// The inner product, which is the cosine of unit vectors.
    static func dot(_ a: [Float], _ b: [Float]) -> Float {
        zip(a, b).reduce(0) { $0 + $1.0 * $1.1 }
    }
}
