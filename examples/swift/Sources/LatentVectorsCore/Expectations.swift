import Foundation

/// What a package or an asset is held to.
public struct Limits: Decodable, Sendable {
    /// The least cosine of a vector with the expected one.
    public let min_cosine: Float
    /// The largest error of a score of `topk`.
    public let max_score_error: Float
}

public enum ExpectationError: Error, Equatable {
    case damaged(String)
    case nothingAbout(String)
}

/// The file of expectations beside a package or an asset: inputs for each function, and what the model makes of them.
///
/// Its format is safetensors: 8 bytes with the length of a JSON header, the header, the numbers.
public struct Expectations {
    private struct Entry: Decodable {
        let dtype: String
        let shape: [Int]
        let data_offsets: [Int]
    }

    private enum Value: Decodable {
        case entry(Entry)
        case metadata([String: String])

        init(from decoder: Decoder) throws {
            if let entry = try? Entry(from: decoder) {
                self = .entry(entry)
            } else {
                self = .metadata(try [String: String](from: decoder))
            }
        }
    }

    private let values: [String: Value]
    private let numbers: Data

    /// The file beside `m.mlpackage`, `m.expected.safetensors`, or beside `m.aimodel`, `m.aimodel.expected.safetensors`.
    public static func file(beside package: URL) -> URL {
        let named = package.pathExtension == "mlpackage" ? package.deletingPathExtension() : package
        return named.appendingPathExtension("expected.safetensors")
    }

    public init(contentsOf url: URL) throws {
        let file = try Data(contentsOf: url)
        let length = file.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard file.count >= 8, length <= UInt64(file.count - 8) else {
            throw ExpectationError.damaged(url.lastPathComponent)
        }
        let end = 8 + Int(length)
        values = try JSONDecoder().decode([String: Value].self, from: file.subdata(in: 8..<end))
        numbers = file.subdata(in: end..<file.count)
    }

    /// The limits of a package, by its name without the suffix.
    public func limits(of package: String) throws -> Limits {
        guard case .metadata(let about) = values["__metadata__"], let json = about["\(package)/about"] else {
            throw ExpectationError.nothingAbout(package)
        }
        return try JSONDecoder().decode(Limits.self, from: Data(json.utf8))
    }

    /// The functions of a package that there is something about.
    public func functions(of package: String) -> [String] {
        let names = values.keys.filter { $0.hasPrefix("\(package)/") }.map { String($0.split(separator: "/")[1]) }
        return Set(names).sorted()
    }

    /// What is expected of a function of a package.
    public func parts(of function: String, in package: String) -> Parts {
        Parts(expectations: self, prefix: "\(package)/\(function)")
    }

    /// The rows of a tensor, flattened to two dimensions: `package/function/part`.
    fileprivate func rows<Scalar>(_ name: String, dtype: String, of scalar: Scalar.Type) -> [[Scalar]]? {
        guard case .entry(let entry) = values[name], entry.dtype == dtype, let width = entry.shape.last else {
            return nil
        }
        let offsets = entry.data_offsets
        guard offsets.count == 2, 0 <= offsets[0], offsets[0] <= offsets[1], offsets[1] <= numbers.count, width > 0,
            offsets[1] - offsets[0] == entry.shape.reduce(MemoryLayout<Scalar>.size, *)
        else { return nil }
        let bytes = numbers.subdata(in: offsets[0]..<offsets[1])
        let scalars = bytes.withUnsafeBytes { Array($0.bindMemory(to: Scalar.self)) }
        return stride(from: 0, to: scalars.count, by: width).map { Array(scalars[$0..<$0 + width]) }
    }
}

/// What is expected of one function, by the names of its inputs and outputs.
public struct Parts {
    fileprivate let expectations: Expectations
    fileprivate let prefix: String

    public func rows(_ part: String) -> [[Float]]? {
        expectations.rows("\(prefix)/\(part)", dtype: "F32", of: Float.self)
    }

    public func ids(_ part: String) -> [[Int32]]? {
        expectations.rows("\(prefix)/\(part)", dtype: "I32", of: Int32.self)
    }
}
