import Foundation

/// What a package is held to.
struct Limits: Decodable {
    let min_cosine: Float
    let max_score_error: Float
}

enum ExpectationError: Error {
    case nothingAbout(String)
}

/// Tensors of a safetensors file: 8 bytes with the length of a JSON header, the header, the numbers.
struct Expectations {
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

    init(contentsOf url: URL) throws {
        let file = try Data(contentsOf: url)
        let length = file.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        values = try JSONDecoder().decode([String: Value].self, from: file.subdata(in: 8..<8 + length))
        numbers = file.subdata(in: 8 + length..<file.count)
    }

    /// The limits of a package.
    func limits(of package: String) throws -> Limits {
        guard case .metadata(let about) = values["__metadata__"], let json = about["\(package)/about"] else {
            throw ExpectationError.nothingAbout(package)
        }
        return try JSONDecoder().decode(Limits.self, from: Data(json.utf8))
    }

    /// The functions of a package that there is something about.
    func functions(of package: String) -> [String] {
        let names = values.keys.filter { $0.hasPrefix("\(package)/") }.map { String($0.split(separator: "/")[1]) }
        return Set(names).sorted()
    }

    /// The rows of a tensor, flattened to two dimensions: `package/function/part`.
    func rows<Scalar>(_ name: String, dtype: String, of scalar: Scalar.Type) -> [[Scalar]]? {
        guard case .entry(let entry) = values[name], entry.dtype == dtype, let width = entry.shape.last else {
            return nil
        }
        let bytes = numbers.subdata(in: entry.data_offsets[0]..<entry.data_offsets[1])
        let scalars = bytes.withUnsafeBytes { Array($0.bindMemory(to: Scalar.self)) }
        return stride(from: 0, to: scalars.count, by: width).map { Array(scalars[$0..<$0 + width]) }
    }
}

/// What is expected of one function, by the names of its inputs and outputs.
struct Parts {
    let expectations: Expectations
    let prefix: String

    func rows(_ part: String) -> [[Float]]? {
        expectations.rows("\(prefix)/\(part)", dtype: "F32", of: Float.self)
    }

    func ids(_ part: String) -> [[Int32]]? {
        expectations.rows("\(prefix)/\(part)", dtype: "I32", of: Int32.self)
    }
}
