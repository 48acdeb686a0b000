import XCTest

@testable import LatentVectorsCore

final class VectorBankTests: XCTestCase {
    func testTheNearestAreThoseOfPython() throws {
        let expected = try ExpectedByPython.read().nearest
        let bank = try VectorBank(expected.vectors)
        let found = bank.nearest(to: expected.query, k: expected.ids.count)
        XCTAssertEqual(found.map(\.id), expected.ids)
        for (neighbour, score) in zip(found, expected.scores) {
            XCTAssertEqual(neighbour.score, score, accuracy: 1e-6)
        }
    }

    func testOfEqualsTheFirstComesFirst() throws {
        let bank = try VectorBank([[0, 1], [2, 0], [1, 0], [3, 0]])
        XCTAssertEqual(bank.nearest(to: [1, 0], k: 4).map(\.id), [1, 2, 3, 0])
        XCTAssertEqual(bank.nearest(to: [1, 0], k: 9).count, 4)
    }

    func testVectorsThatDoNotFitAreNamedByTheirPlace() {
        XCTAssertThrowsError(try VectorBank([[1, 0], [0, 0]])) {
            XCTAssertEqual($0 as? LatentVectorError, .zeroVector(1))
        }
        XCTAssertThrowsError(try VectorBank([[1, 0], [.nan, 1]])) {
            XCTAssertEqual($0 as? LatentVectorError, .zeroVector(1))
        }
        XCTAssertThrowsError(try VectorBank([[1, 0], [1]])) {
            XCTAssertEqual($0 as? LatentVectorError, .unevenVectors(1))
        }
    }
}
