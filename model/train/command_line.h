#ifndef ELA_MODEL_TRAIN_COMMAND_LINE_H_
#define ELA_MODEL_TRAIN_COMMAND_LINE_H_

namespace ela::train {

// ela-train: lm (train a language model), eval (bits per byte of a checkpoint), detector and
// eval-detector (detector/detector_commands.h), export (another
// number type). Returns the exit code: 0, 1 with a message on stderr, or CLI11's code for a wrong
// command line.
int RunCommandLine(int argc, char** argv);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_COMMAND_LINE_H_
