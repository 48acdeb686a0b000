/// The last vectors of a document, for a function that reads so many at once: a ring that forgets the oldest.
public struct ContextWindow: Sendable {
    /// How many vectors it keeps at most.
    public let capacity: Int

    private var ring: [[Float]] = []
    private var oldest = 0

    /// - Parameter capacity: How many vectors to keep, such as 100 for `predict_100`.
    public init(capacity: Int) {
        precondition(capacity > 0, "capacity = \(capacity); expected at least 1")
        self.capacity = capacity
    }

    /// How many vectors it holds.
    public var count: Int { ring.count }

    /// Whether it holds as many as it keeps, which is when `predict_N` can be asked.
    public var isFull: Bool { ring.count == capacity }

    /// The vectors, oldest first.
    public var context: [[Float]] { Array(ring[oldest...] + ring[..<oldest]) }

    /// Add the newest vector; where there is no room the oldest goes.
    public mutating func push(_ vector: [Float]) {
        guard isFull else {
            ring.append(vector)
            return
        }
        ring[oldest] = vector
        oldest = (oldest + 1) % capacity
    }

    /// Forget all vectors.
    public mutating func reset() {
        ring.removeAll(keepingCapacity: true)
        oldest = 0
    }
}
