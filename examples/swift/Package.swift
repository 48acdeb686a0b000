// swift-tools-version: 6.0
// A library to drop into an app, and a tool that checks an exported package on this Mac:
//     swift run -c release check path/to/model.mlpackage

import PackageDescription

let package = Package(
    name: "LatentVectors",
    platforms: [.macOS(.v15), .iOS(.v18)],
    products: [.library(name: "LatentVectors", targets: ["LatentVectors"])],
    targets: [
        .target(name: "LatentVectors"),
        .executableTarget(name: "check", dependencies: ["LatentVectors"]),
    ],
    swiftLanguageModes: [.v5]
)
