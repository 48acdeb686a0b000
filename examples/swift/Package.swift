// swift-tools-version: 6.0
// Libraries to drop into an app, and a tool that checks an exported package or asset on this Mac:
//     swift run -c release check path/to/model.mlpackage
//     swift run -c release check path/to/model.aimodel
// `swift test` checks what they share, on Linux too, where there is neither Core ML nor Core AI.

import PackageDescription

let package = Package(
    name: "LatentVectors",
    platforms: [.macOS(.v15), .iOS(.v18)],
    products: [
        .library(name: "LatentVectors", targets: ["LatentVectors"]),
        .library(name: "LatentVectorsCoreAI", targets: ["LatentVectorsCoreAI"]),
        .library(name: "LatentVectorsCore", targets: ["LatentVectorsCore"]),
    ],
    targets: [
        .target(name: "LatentVectorsCore"),
        .target(name: "LatentVectors", dependencies: ["LatentVectorsCore"]),
        .target(name: "LatentVectorsCoreAI", dependencies: ["LatentVectorsCore"]),
        .executableTarget(name: "check", dependencies: ["LatentVectors", "LatentVectorsCoreAI", "LatentVectorsCore"]),
        .testTarget(name: "LatentVectorsCoreTests", dependencies: ["LatentVectorsCore"]),
    ],
    swiftLanguageModes: [.v5]
)
