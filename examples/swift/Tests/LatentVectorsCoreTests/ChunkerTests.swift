import XCTest

@testable import LatentVectorsCore

final class ChunkerTests: XCTestCase {
    /// A token for every four letters.
    private func quarters(_ words: [String]) -> [Int] {
        words.map { ($0.unicodeScalars.count + 3) / 4 }
    }

    func testChunksAreThoseOfPython() throws {
        let expected = try ExpectedByPython.read().chunks
        XCTAssertGreaterThan(expected.count, 5)
        for each in expected {
            let chunks = Chunker(tokens: each.tokens, countTokens: quarters).chunks(of: each.text)
            XCTAssertEqual(chunks, each.chunks)
        }
    }

    func testTextOfWhiteSpaceHasNoChunks() {
        XCTAssertEqual(Chunker(countTokens: quarters).chunks(of: ""), [])
        XCTAssertEqual(Chunker(countTokens: quarters).chunks(of: " \n\t "), [])
    }
}
