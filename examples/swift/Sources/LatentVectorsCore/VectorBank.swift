/// Candidates beside an app's package: finds those with the largest inner products with a query, exactly.
public struct VectorBank: Sendable {
    /// Numbers a vector.
    public let width: Int

    /// How many vectors there are.
    public let count: Int

    private let rows: [Float]

    /// Bring vectors to unit length and keep them.
    ///
    /// - Throws: `zeroVector` or `unevenVectors`, with the place of the first vector that has no direction or another
    ///   length than the others.
    public init(_ vectors: [[Float]]) throws {
        width = vectors.first?.count ?? 0
        count = vectors.count
        var rows: [Float] = []
        rows.reserveCapacity(count * width)
        for (place, vector) in vectors.enumerated() {
            guard vector.count == width else { throw LatentVectorError.unevenVectors(place) }
            let length = vector.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            guard length > 0, length.isFinite else { throw LatentVectorError.zeroVector(place) }
            rows += vector.map { Float(Double($0) / length) }
        }
        self.rows = rows
    }

    /// The `k` vectors that are nearest to a unit query, best first; of equals the first one comes first.
    public func nearest(to query: [Float], k: Int) -> [Neighbour] {
        precondition(query.count == width, "query has \(query.count) numbers; expected \(width)")
        let products = (0..<count).map { product(of: $0, with: query) }
        let order = products.indices.sorted { (products[$0], $1) > (products[$1], $0) }
        return order.prefix(k).map { Neighbour(id: $0, score: Float(products[$0])) }
    }

    private func product(of row: Int, with query: [Float]) -> Double {
        var sum = 0.0
        for place in 0..<width {
            sum += Double(rows[row * width + place]) * Double(query[place])
        }
        return sum
    }
}
