/// Cuts text into chunks of about so many tokens, at sentence and clause ends where one is near: the chunks that
/// `lvm-fast prepare` makes of the same text, where tokens are counted alike.
public struct Chunker {
    private static let shortest = 0.5, longest = 1.5  // of the wanted length
    private static let ideographic = Set("。！？；，、".unicodeScalars)  // these end a word too
    private static let sentenceEnds = Set(".!?…。！？".unicodeScalars)
    private static let clauseEnds = Set(",;:—–；，、".unicodeScalars)
    private static let closing = Set("\"'”’»)]".unicodeScalars)
    private static let separators = Set("\u{1C}\u{1D}\u{1E}\u{1F}".unicodeScalars)  // white space to Python

    private typealias Scalars = [Unicode.Scalar]

    private let tokens: Int
    private let countTokens: ([String]) -> [Int]

    /// - Parameters:
    ///   - tokens: How many tokens a chunk should have; it has between half and one and a half times that.
    ///   - countTokens: The tokens of each of a list of words.
    public init(tokens: Int = 20, countTokens: @escaping ([String]) -> [Int]) {
        precondition(tokens > 0, "tokens = \(tokens); expected at least 1")
        self.tokens = tokens
        self.countTokens = countTokens
    }

    /// The chunks in order, white space made single spaces; none for text of white space only.
    public func chunks(of text: String) -> [String] {
        let scalars = Array(text.unicodeScalars)
        let words = Self.words(of: scalars)
        let (spans, counts) = withoutLongWords(scalars, words)
        let costs = spans.indices.map { Self.cost(scalars, spans[$0], $0 + 1 < spans.count ? spans[$0 + 1] : nil) }
        let totals = counts.reduce(into: [0]) { $0.append($0.last! + $1) }
        var chunks: [String] = []
        var first = 0
        while first < spans.count {
            let last = lastWord(totals, costs, first)
            chunks.append(Self.joined(scalars[spans[first].lowerBound..<spans[last].upperBound]))
            first = last + 1
        }
        return chunks
    }

    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace || separators.contains(scalar)
    }

    /// Words end at white space, and after ideographic punctuation.
    private static func words(of scalars: Scalars) -> [Range<Int>] {
        var words: [Range<Int>] = []
        var begin: Int?
        for place in 0...scalars.count {
            let next = place < scalars.count && !isSpace(scalars[place]) ? scalars[place] : nil
            if let open = begin, next.map({ startsWord($0, after: scalars[place - 1]) }) ?? true {
                words.append(open..<place)
                begin = nil
            }
            if next != nil, begin == nil { begin = place }
        }
        return words
    }

    private static func startsWord(_ scalar: Unicode.Scalar, after last: Unicode.Scalar) -> Bool {
        ideographic.contains(last) && !ideographic.contains(scalar)
    }

    /// Words and their tokens; words of more tokens than a chunk are cut into equal parts.
    private func withoutLongWords(_ scalars: Scalars, _ words: [Range<Int>]) -> ([Range<Int>], [Int]) {
        var spans: [Range<Int>] = []
        var counts: [Int] = []
        for (word, counted) in zip(words, countTokens(words.map { Self.string(scalars[$0]) })) {
            let count = max(1, counted)
            let pieces = count <= tokens ? 1 : min(word.count, (2 * count + tokens - 1) / tokens)
            for piece in 0..<pieces {
                let begin = word.lowerBound + word.count * piece / pieces
                spans.append(begin..<word.lowerBound + word.count * (piece + 1) / pieces)
                counts.append((count + pieces - 1) / pieces)
            }
        }
        return (spans, counts)
    }

    /// The cost of ending a chunk after a word: a tenth is a tenth of the wanted length away from it.
    private static func cost(_ scalars: Scalars, _ word: Range<Int>, _ following: Range<Int>?) -> Double {
        guard let following else { return 0 }
        let lineEnds = scalars[word.upperBound..<following.lowerBound].count { $0 == "\n" }
        if lineEnds > 1 { return 0 }
        let last = scalars[word].last { !closing.contains($0) }
        if let last, sentenceEnds.contains(last), !scalars[following.lowerBound].properties.isLowercase { return 0 }
        if let last, clauseEnds.contains(last) { return 0.4 }
        return 1
    }

    /// The word at which the chunk that begins with word `first` ends best.
    private func lastWord(_ totals: [Int], _ costs: [Double], _ first: Int) -> Int {
        var best = first
        var bestCost = Double.infinity
        for last in first..<costs.count {
            let length = Double(totals[last + 1] - totals[first]) / Double(tokens)
            if length > Self.longest && last > first { break }
            let cost = costs[last] + abs(length - 1) + (length >= Self.shortest ? 0 : 10)
            if cost < bestCost { (best, bestCost) = (last, cost) }
        }
        return best
    }

    /// Text with single spaces for white space.
    private static func joined(_ scalars: ArraySlice<Unicode.Scalar>) -> String {
        scalars.split(whereSeparator: isSpace).map(string).joined(separator: " ")
    }

    private static func string(_ scalars: ArraySlice<Unicode.Scalar>) -> String {
        var text = String.UnicodeScalarView()
        text.append(contentsOf: scalars)
        return String(text)
    }
}
