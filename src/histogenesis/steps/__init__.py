"""What the steps of a run do: the public Python API. One module for each rule, and in it one function of the same name.

    from histogenesis.steps.train_model import train_model

They take paths, numbers and sections of a recipe, all by name, and write files; they say what they find on standard output and
error. `BadInput` is an error that a user can cause, its message one line with the remedy; `Stopped` says that work was asked to
end and has saved its state. Long ones (train_model, draw_level, draw_samples) go on from there when they are called again.
`command.run` makes a command of each (workflow/scripts/).
"""
