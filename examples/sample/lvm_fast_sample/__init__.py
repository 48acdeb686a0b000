"""The sample of lvm_fast, data alone: `lvm_fast.sample()` opens it, `sotu-sample.md` beside this file has its story."""
