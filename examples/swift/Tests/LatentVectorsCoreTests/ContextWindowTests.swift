import XCTest

@testable import LatentVectorsCore

final class ContextWindowTests: XCTestCase {
    func testItKeepsTheLastVectorsOldestFirst() {
        var window = ContextWindow(capacity: 3)
        var contexts: [[[Float]]] = []
        for number in 1...7 {
            window.push([Float(number)])
            contexts.append(window.context)
        }
        XCTAssertEqual(contexts[0], [[1]])
        XCTAssertEqual(contexts[2], [[1], [2], [3]])
        XCTAssertEqual(contexts[3], [[2], [3], [4]])
        XCTAssertEqual(contexts[6], [[5], [6], [7]])
    }

    func testItIsFullWithAsManyVectorsAsItKeeps() {
        var window = ContextWindow(capacity: 2)
        XCTAssertEqual([window.isFull, window.count == 0], [false, true])
        window.push([1])
        XCTAssertFalse(window.isFull)
        window.push([2])
        window.push([3])
        XCTAssertTrue(window.isFull)
        XCTAssertEqual(window.count, 2)
    }

    func testAfterAResetItBeginsAnew() {
        var window = ContextWindow(capacity: 2)
        for number in 1...3 { window.push([Float(number)]) }
        window.reset()
        XCTAssertEqual(window.context, [])
        window.push([9])
        window.push([8])
        XCTAssertEqual(window.context, [[9], [8]])
    }
}
