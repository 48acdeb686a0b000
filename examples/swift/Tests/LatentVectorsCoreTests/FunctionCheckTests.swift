import Foundation
import XCTest

@testable import LatentVectorsCore

/// Gives what it was told to give.
private struct Told: LatentVectorFunction {
    var predictions: [[Float]: Prediction] = [:]
    var neighbours: [Neighbour] = []

    func predict(context: [[Float]]) throws -> Prediction {
        try XCTUnwrap(predictions[flattened(context).numbers])
    }

    func step(vector: [Float]) throws -> Prediction {
        try XCTUnwrap(predictions[vector])
    }

    func nearest(to query: [Float]) -> [Neighbour] {
        neighbours
    }
}

final class FunctionCheckTests: XCTestCase {
    private var file: URL!

    override func setUpWithError() throws {
        file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    }

    override func tearDownWithError() throws {
        try? FileManager.default.removeItem(at: file)
    }

    /// Writes float32 tensors, and int32 for `ids`, as safetensors, with limits, and reads them back.
    private func expectations(_ tensors: [(name: String, shape: [Int], numbers: [Float])]) throws -> Expectations {
        var header: [String: Any] = [
            "__metadata__": ["m/about": #"{"min_cosine": 0.999, "max_score_error": 0.01}"#]
        ]
        var numbers = Data()
        for tensor in tensors {
            let isIds = tensor.name.hasSuffix("/ids")
            let bytes = isIds ? Self.bytes(tensor.numbers.map { Int32($0) }) : Self.bytes(tensor.numbers)
            header[tensor.name] = [
                "dtype": isIds ? "I32" : "F32", "shape": tensor.shape,
                "data_offsets": [numbers.count, numbers.count + bytes.count],
            ]
            numbers += bytes
        }
        let json = try JSONSerialization.data(withJSONObject: header)
        try (Self.bytes([UInt64(json.count).littleEndian]) + json + numbers).write(to: file)
        return try Expectations(contentsOf: file)
    }

    private static func bytes<Scalar>(_ scalars: [Scalar]) -> Data {
        scalars.withUnsafeBytes { Data($0) }
    }

    private func check(_ told: Told, _ expected: Expectations, _ function: String) async throws -> FunctionCheck {
        try await FunctionCheck(
            told, function: function, parts: expected.parts(of: function, in: "m"), limits: expected.limits(of: "m"))
    }

    func testAFunctionIsHeldToTheLeastCosine() async throws {
        let expected = try expectations([
            ("m/predict_2/context", [1, 2, 2], [1, 0, 0, 1]),
            ("m/predict_2/next_vector", [1, 2], [0.6, 0.8]),
            ("m/predict_2/delta", [1, 2], [1, 0]),
        ])
        XCTAssertEqual(expected.functions(of: "m"), ["predict_2"])
        for (answer, passes) in [([0.6, 0.8], true), ([0.8, 0.6], false), ([.nan, 0.8], false)] as [([Float], Bool)] {
            let told = Told(predictions: [[1, 0, 0, 1]: Prediction(nextVector: answer, delta: [], query: answer)])
            let found = try await check(told, expected, "predict_2")
            XCTAssertEqual(found.passed, passes, found.text)
        }
    }

    func testEveryStepAndItsQueryAreCompared() async throws {
        let expected = try expectations([
            ("m/step/vector", [2, 2], [1, 0, 0, 1]),
            ("m/step/next_vector", [2, 2], [1, 0, 0, 1]),
            ("m/step/query", [2, 2], [0, 1, 1, 0]),
        ])
        var told = Told(predictions: [
            [1, 0]: Prediction(nextVector: [1, 0], delta: [], query: [0, 1]),
            [0, 1]: Prediction(nextVector: [0, 1], delta: [], query: [1, 0]),
        ])
        let right = try await check(told, expected, "step")
        XCTAssertTrue(right.passed, right.text)
        told.predictions[[0, 1]] = Prediction(nextVector: [0, 1], delta: [], query: [0, 1])
        let wrong = try await check(told, expected, "step")
        XCTAssertFalse(wrong.passed, wrong.text)
    }

    func testNeighboursMayChangePlacesWhereTheirScoresAreClose() async throws {
        let expected = try expectations([
            ("m/topk/query", [1, 2], [1, 0]),
            ("m/topk/scores", [1, 2], [0.900, 0.896]),
            ("m/topk/ids", [1, 2], [4, 7]),
        ])
        let close = [Neighbour(id: 7, score: 0.897), Neighbour(id: 4, score: 0.896)]
        let twice = [Neighbour(id: 4, score: 0.9), Neighbour(id: 4, score: 0.9)]
        let far = [Neighbour(id: 4, score: 0.9), Neighbour(id: 7, score: 0.88)]
        for (neighbours, passes) in [(close, true), (twice, false), (far, false)] {
            let found = try await check(Told(neighbours: neighbours), expected, "topk")
            XCTAssertEqual(found.passed, passes, found.text)
        }
    }

    func testADamagedFileIsNamed() throws {
        try Data([255, 255, 255, 255, 0, 0, 0, 0, 1]).write(to: file)
        XCTAssertThrowsError(try Expectations(contentsOf: file)) {
            XCTAssertEqual($0 as? ExpectationError, .damaged(file.lastPathComponent))
        }
    }

    func testEachFormatHasItsOwnFile() {
        for (package, beside) in [
            ("m.mlpackage", "m.expected.safetensors"), ("m.aimodel", "m.aimodel.expected.safetensors"),
        ] {
            let file = Expectations.file(beside: URL(fileURLWithPath: "/apps/\(package)"))
            XCTAssertEqual(file.path, "/apps/\(beside)")
        }
    }
}
