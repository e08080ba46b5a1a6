#include "model/train/command_line.h"

int main(int argc, char** argv) { return ela::train::RunCommandLine(argc, argv); }
