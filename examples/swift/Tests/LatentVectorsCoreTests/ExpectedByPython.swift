import Foundation

/// What lvm_fast makes of the same inputs: `expected.json`, which its own tests keep true.
struct ExpectedByPython: Decodable {
    struct Chunks: Decodable {
        let text: String
        let tokens: Int
        let chunks: [String]
    }

    struct Nearest: Decodable {
        let vectors: [[Float]]
        let query: [Float]
        let ids: [Int]
        let scores: [Float]
    }

    let chunks: [Chunks]
    let nearest: Nearest

    static func read() throws -> ExpectedByPython {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("expected.json")
        return try JSONDecoder().decode(ExpectedByPython.self, from: Data(contentsOf: file))
    }
}
