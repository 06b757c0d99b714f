"""`parley bench WHAT`: what a chunk costs and why; a module for each measurement."""

# Word after `parley bench` -> its module, with add_arguments(parser), run(args) -> exit code and
# lines(result) for people; and what it measures.
PARTS = {
    "step": ("parley_apps.benchmark.step", "what steps cost, stage by stage (also without a word)"),
    "hour": ("parley_apps.benchmark.hour", "a long conversation, minute by minute"),
    "serve": ("parley_apps.benchmark.serve", "conversations at once behind parley serve"),
    "shapes": ("parley_apps.benchmark.shapes.run", "the published shapes with random weights"),
    "simulate": ("parley_apps.benchmark.model.simulate", "the least time that a device allows"),
    "flow": ("parley_apps.benchmark.flow.sweep", "the flow decoder's settings: cost and distance"),
    "encoder": ("parley_apps.benchmark.encoder", "turns with and without their silence"),
    "vocoder": ("parley_apps.benchmark.vocoder", "the vocoder: cost and error of its look-ahead"),
    "backbone": ("parley_apps.benchmark.backbone", "tokens per second beside llama.cpp's loop"),
    "kernels": ("parley_apps.benchmark.kernels", "single operations beside what they replace"),
    "report": ("parley_apps.benchmark.report", "all of it, into BENCHMARKS.md"),
}
DEFAULT = "step"  # where no word of PARTS follows: `parley bench nano`
