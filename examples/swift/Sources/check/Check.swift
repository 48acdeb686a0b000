import Foundation
import LatentVectors
import LatentVectorsCore
import LatentVectorsCoreAI

#if canImport(CoreML)
    import CoreML
#endif

/// Runs every function of a package or an asset on the inputs of the expectations beside it, and checks the outputs
/// against the limits in that file.
@main
struct Check {
    static func main() async throws {
        guard CommandLine.arguments.count == 2 else { stop("usage: check path/to/model.mlpackage or model.aimodel") }
        let package = URL(fileURLWithPath: CommandLine.arguments[1])
        let name = package.deletingPathExtension().lastPathComponent
        let expectations = try Expectations(contentsOf: Expectations.file(beside: package))
        let limits = try expectations.limits(of: name)
        let load = try await loader(of: package)
        var checks: [FunctionCheck] = []
        for function in expectations.functions(of: name) {
            let parts = expectations.parts(of: function, in: name)
            try await checks.append(FunctionCheck(load(function), function: function, parts: parts, limits: limits))
        }
        for check in checks {
            print("\(check.function): \(check.text)\(check.passed ? "" : "  WRONG")")
        }
        exit(!checks.isEmpty && checks.allSatisfy { $0.passed } ? 0 : 1)
    }

    /// Returns what loads a function of a package or an asset by name.
    static func loader(of package: URL) async throws -> (String) async throws -> any LatentVectorFunction {
        if package.pathExtension == "aimodel" {
            #if canImport(CoreAI) && arch(arm64)
                if #available(macOS 27.0, iOS 27.0, *) {
                    return { try await LatentVectorAsset(contentsOf: package, function: $0) }
                }
            #endif
            stop("\(package.lastPathComponent) needs Core AI, which comes with macOS 27 and Xcode 27")
        }
        #if canImport(CoreML)
            let compiled = try await MLModel.compileModel(at: package)
            return { try LatentVectorModel(compiled: compiled, function: $0 == "main" ? nil : $0) }
        #else
            stop("\(package.lastPathComponent) needs Core ML, which comes with macOS")
        #endif
    }

    static func stop(_ reason: String) -> Never {
        print(reason)
        exit(2)
    }
}
