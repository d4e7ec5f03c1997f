"""Reactive: detectors of adversarial inputs, judged by attacks that know them."""
