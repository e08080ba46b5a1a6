// The command `ela` as a process, against a fake server in this one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/client/fake_server.h"
#include "tests/client/process.h"

namespace ela {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

struct Result {
  int exit_code;
  std::string output;
  std::string errors;
};

class CommandTest : public ::testing::Test {
 protected:
  CommandTest() {
    server_.OnGenerate({[this](grpc::ServerContext*, const v1::GenerateRequest& request,
                               grpc::ServerWriter<v1::GenerateResponse>* writer) {
      return Continue(request, writer);
    }});
    server_.OnScore(
        [](grpc::ServerContext*, const v1::ScoreRequest& request,
           grpc::ServerWriter<v1::ScoreResponse>* writer) { return ScoreBytes(request, writer); });
  }

  Result Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), ELA_COMMAND);
    Process process(arguments, {"ELA_SERVER=" + server_.address()});
    if (!input.empty()) process.Write(input);
    const int exit_code = process.Wait();
    return {exit_code, process.output(), process.errors()};
  }

  // A file that lives as long as the test's folder.
  static std::string File(const std::string& name, const std::string& text) {
    const std::string path = ::testing::TempDir() + "/" + name;
    std::ofstream(path) << text;
    return path;
  }

  // The prompt, reversed, one byte per message.
  grpc::Status Continue(const v1::GenerateRequest& request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) {
    const std::string text(request.text().rbegin(), request.text().rend());
    for (const char byte : text) {
      v1::GenerateResponse response;
      response.set_text(std::string(1, byte));
      response.add_token_ids(static_cast<unsigned char>(byte));
      if (request.output().logprobs()) response.add_logprobs(-0.5f);
      writer->Write(response);
    }
    v1::GenerateResponse last;
    last.mutable_finish()->set_reason(v1::Finish::REASON_LENGTH);
    last.mutable_finish()->set_seed(request.sampling().seed());
    v1::Usage* const usage = last.mutable_finish()->mutable_usage();
    usage->set_prompt_tokens(request.text().size());
    usage->set_generated_tokens(request.text().size());
    usage->set_decode_seconds(0.5);
    writer->Write(last);
    return grpc::Status::OK;
  }

  // Each byte costs one bit; a text with a '!' is refused.
  static grpc::Status ScoreBytes(const v1::ScoreRequest& request,
                                 grpc::ServerWriter<v1::ScoreResponse>* writer) {
    if (request.text().find('!') != std::string::npos) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "text shouts"};
    }
    v1::ScoreResponse response;
    for (size_t i = 0; i < request.text().size(); ++i) {
      response.mutable_scores()->add_logprobs(-0.6931472f);
    }
    writer->Write(response);
    v1::ScoreResponse last;
    last.mutable_summary()->set_num_tokens(request.text().size());
    last.mutable_summary()->set_num_bytes(request.text().size());
    last.mutable_summary()->set_total_logprob(-std::log(2.0) * request.text().size());
    writer->Write(last);
    return grpc::Status::OK;
  }

  FakeServer server_;
};

TEST_F(CommandTest, GenerateTakesTextFromArgumentFileOrInput) {
  EXPECT_EQ(Run({"generate", "abc"}).output, "cba\n");
  EXPECT_EQ(Run({"generate", "--file", File("prompt.txt", "file")}).output, "elif\n");
  EXPECT_EQ(Run({"generate"}, "input").output, "tupni\n");
  EXPECT_EQ(Run({"generate", "abc", "--echo"}).output, "abccba\n");
}

TEST_F(CommandTest, GenerateShowsTokensAsTheyArrive) {
  absl::Notification seen;
  server_.OnGenerate({[&seen](grpc::ServerContext*, const v1::GenerateRequest&,
                              grpc::ServerWriter<v1::GenerateResponse>* writer) {
    v1::GenerateResponse response;
    response.set_text("first");
    writer->Write(response);
    seen.WaitForNotification();  // the second comes only once the first was seen
    response.set_text("second");
    response.mutable_finish()->set_reason(v1::Finish::REASON_LENGTH);
    writer->Write(response);
    return grpc::Status::OK;
  }});

  Process process({ELA_COMMAND, "generate", "x", "--server", server_.address()});
  EXPECT_EQ(process.ReadOutputUntil("first"), "first");
  seen.Notify();

  EXPECT_EQ(process.Wait(), 0) << process.errors();
  EXPECT_EQ(process.output(), "firstsecond\n");
}

TEST_F(CommandTest, GenerateJsonIsOneObjectPerLineAndEndsWithTheFinish) {
  const Result result = Run({"generate", "ab", "--json", "--logprobs", "--seed", "9"});

  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const std::vector<std::string> lines = absl::StrSplit(result.output, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3);
  const auto first = nlohmann::json::parse(lines[0]);
  EXPECT_EQ(first["text"], "b");
  EXPECT_EQ(first["token_ids"][0], 'b');
  EXPECT_EQ(first["logprobs"][0], -0.5);
  const auto last = nlohmann::json::parse(lines[2]);
  EXPECT_EQ(last["finish"]["reason"], "length");
  EXPECT_EQ(last["finish"]["seed"], 9);
  EXPECT_EQ(last["finish"]["usage"]["prompt_tokens"], 2);
}

TEST_F(CommandTest, StatsGoToStderrAlone) {
  const Result result = Run({"generate", "abc", "--stats"});

  EXPECT_EQ(result.output, "cba\n");
  EXPECT_THAT(result.errors, AllOf(HasSubstr("3 tokens"), HasSubstr("first after"),
                                   HasSubstr("then 4 tokens/s"), HasSubstr("ended by length")));
}

TEST_F(CommandTest, OutputThatCannotBeWrittenIsAnError) {
  const std::vector<std::string> commands = {
      "generate abc",
      "generate abc --json",
      "models",
      "models tiny --json",
      "tokenize abc",
      "detokenize 7",
      "health",
      "--help",
      "score --file " + File("full.jsonl", "{\"text\": \"a\"}")};
  for (const std::string& command : commands) {
    Process process({"/bin/sh", "-c", absl::StrCat(ELA_COMMAND, " ", command, " > /dev/full")},
                    {"ELA_SERVER=" + server_.address()});
    EXPECT_EQ(process.Wait(), 1) << command;
    EXPECT_THAT(process.errors(),
                HasSubstr("ela: cannot write to standard output: No space left on device\n"))
        << command;
  }
}

TEST_F(CommandTest, InterruptCancelsTheStreamAndExitsWith130) {
  std::atomic<bool> cancelled = false;
  server_.OnGenerate({[&cancelled](grpc::ServerContext* context, const v1::GenerateRequest&,
                                   grpc::ServerWriter<v1::GenerateResponse>* writer) {
    v1::GenerateResponse response;
    response.set_text("on and on");
    writer->Write(response);
    while (!context->IsCancelled()) std::this_thread::yield();
    cancelled = true;
    return grpc::Status::CANCELLED;
  }});

  Process process({ELA_COMMAND, "generate", "x", "--server", server_.address()});
  process.ReadOutputUntil("on and on");
  process.Signal(SIGINT);

  EXPECT_EQ(process.Wait(), 130);
  EXPECT_THAT(process.errors(), HasSubstr("interrupted"));
  while (!cancelled) std::this_thread::yield();
}

TEST_F(CommandTest, TextThatIsNotUtf8IsRefusedWithItsPlace) {
  const std::string file = File("latin1.txt", "caf\xE9 au lait");
  const Result from_file = Run({"generate", "--file", file});
  EXPECT_EQ(from_file.exit_code, 3);
  EXPECT_EQ(from_file.errors, "ela: " + file + " is not UTF-8: byte 0xe9 at offset 3\n");
  EXPECT_EQ(server_.num_generate_calls(), 0);
  const Result from_input = Run({"tokenize"}, "\xFF");
  EXPECT_EQ(from_input.exit_code, 3);
  EXPECT_EQ(from_input.errors, "ela: standard input is not UTF-8: byte 0xff at offset 0\n");
  EXPECT_EQ(Run({"generate", "x", "--stop", "\xFF"}).exit_code, 3);
  const Result lines = Run({"score", "--file", File("latin1.jsonl", "{\"text\": \"caf\xE9\"}\n")});
  EXPECT_EQ(lines.exit_code, 3);
  EXPECT_THAT(lines.errors, HasSubstr("line 1 is not UTF-8: byte 0xe9 at offset 13"));
}

TEST_F(CommandTest, Utf8IsWhatUnicodeSays) {
  for (const std::string good : {"\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEF\xBF\xBF",
                                 "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_EQ(Run({"tokenize", good}).exit_code, 0) << testing::PrintToString(good);
  }
  for (const std::string bad :
       {"\x80", "\xC1\xBF", "\xC2", "\xC2 ", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xE1\x80 ",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80"}) {
    EXPECT_EQ(Run({"tokenize", bad}).exit_code, 3) << testing::PrintToString(bad);
  }
}

TEST_F(CommandTest, ExitCodesTellWhoHasToAct) {
  EXPECT_EQ(Run({"generate", "x", "--no-such-flag"}).exit_code, 2);
  EXPECT_EQ(Run({}).exit_code, 2);
  EXPECT_EQ(Run({"generate", "--file", "/no/such/file"}).exit_code, 2);
  EXPECT_EQ(Run({"models", "--server", "127.0.0.1:1"}).exit_code, 1);
  EXPECT_EQ(Run({"models", "huge"}).exit_code, 3);
  server_.OnGenerate({[](auto...) {
    return Busy(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full", absl::Seconds(2));
  }});
  const Result overloaded = Run({"generate", "x"});
  EXPECT_EQ(overloaded.exit_code, 4);
  EXPECT_THAT(overloaded.errors, AllOf(HasSubstr("the queue is full"), HasSubstr("in 2s")));
}

TEST_F(CommandTest, AnInputOverTheMessageLimitIsRefusedNotOverload) {
  const Result result = Run({"generate", "--file", File("large.txt", std::string(5 << 20, 'a'))});

  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("the request is larger than the server takes"),
                                   HasSubstr("vs. 4194304")));
}

TEST_F(CommandTest, ErrorsAreOneReadableSentence) {
  EXPECT_EQ(Run({"models", "huge"}).errors, "ela: no model \"huge\", there is tiny\n");
  EXPECT_THAT(Run({"health", "--server", "127.0.0.1:1"}).errors,
              HasSubstr("ela: no server answers at 127.0.0.1:1"));
}

TEST_F(CommandTest, AWrongCommandLineIsToldWhatIsWrong) {
  const auto expect = [this](const std::vector<std::string>& arguments, const std::string& words) {
    const Result result = Run(arguments);
    EXPECT_EQ(result.exit_code, 2) << words;
    EXPECT_THAT(result.errors, AllOf(::testing::StartsWith("ela: "), HasSubstr(words)));
  };
  expect({"generat", "hi"},
         "no command \"generat\"; the commands are generate, score, detect, models");
  expect({}, "no command is given; the commands are generate");
  expect({"generate", "once", "upon", "a", "time"}, "upon a time (a text of several words needs");
  expect({"generate", "hi", "--what"}, "no option --what\n`ela generate --help` says more");
  expect({"generate", "hi", "-n", "-1"},
         "\"-1\" is not a whole number from 0 to 18446744073709551615");
  expect({"generate", "hi", "--top-k", "-1"}, "whole number from 0 to 4294967295");
  expect({"detokenize", "4294967296"}, "whole number from 0 to 4294967295");
  expect({"generate", "hi", "--logprobs"}, "need --json");
  expect({"models", "--server", "localhost"}, "must be host:port");
  expect({"models", "--server", "http://localhost:50051"}, "must be host:port, without http://");
}

TEST_F(CommandTest, AnErrorSaysWhatToDoNext) {
  EXPECT_THAT(Run({"models", "--server", "127.0.0.1:1"}).errors,
              AllOf(HasSubstr("`ela-server --model DIR`"), HasSubstr("ELA_SERVER")));
  server_.OnGenerate({[](grpc::ServerContext* context, auto...) {
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  }});
  const Result late = Run({"generate", "x", "--timeout", "0.2"});
  EXPECT_EQ(late.exit_code, 1);
  EXPECT_EQ(late.errors, "ela: no complete answer within 200ms (--timeout)\n");
}

TEST_F(CommandTest, HelpTeachesWithExamples) {
  const Result all = Run({"--help"});
  EXPECT_EQ(all.exit_code, 0);
  EXPECT_THAT(all.output,
              AllOf(HasSubstr("Examples:"), HasSubstr("Exit codes:"), HasSubstr("ELA_SERVER")));
  for (const std::string command :
       {"generate", "score", "detect", "models", "tokenize", "detokenize", "health"}) {
    const Result one = Run({command, "--help"});
    EXPECT_EQ(one.exit_code, 0);
    EXPECT_THAT(one.output, HasSubstr("Examples:")) << command;
  }
}

TEST_F(CommandTest, ScoreSumsOverDocuments) {
  const std::string file = File("good.jsonl",
                                "{\"id\": \"a\", \"text\": \"four\"}\n\n"
                                "{\"id\": 2, \"text\": \"sixsix\"}\n");

  const Result result = Run({"score", "--file", file, "--per-document"});

  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const std::vector<std::string> lines = absl::StrSplit(result.output, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3);
  EXPECT_EQ(nlohmann::json::parse(lines[0])["id"], "a");
  EXPECT_EQ(nlohmann::json::parse(lines[1])["id"], "2");
  const auto totals = nlohmann::json::parse(lines[2]);
  EXPECT_EQ(totals["documents"], 2);
  EXPECT_EQ(totals["tokens"], 10);
  EXPECT_EQ(totals["bytes"], 10);
  EXPECT_NEAR(totals["bits_per_byte"].get<double>(), 1.0, 1e-12);
  EXPECT_EQ(totals["complete"], true);
}

TEST_F(CommandTest, ScoreReportsBrokenLinesByNumberAndScoresTheRest) {
  const std::string file = File("broken.jsonl",
                                "{\"text\": \"good\"}\n"
                                "{\"text\": \n"
                                "[1]\n"
                                "{\"id\": 4}\n"
                                "{\"text\": 5}\n"
                                "{\"text\": \"\"}\n"
                                "{\"text\": \"hey!\"}\n"
                                "{\"text\": \"fine\"}\n");

  const Result result = Run({"score", "--file", file});

  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("line 2: not JSON"), HasSubstr("line 3: not an object"),
                    HasSubstr("line 4: no \"text\""), HasSubstr("line 5: \"text\" is not"),
                    HasSubstr("line 6: \"text\" is empty"), HasSubstr("line 7: text shouts")));
  const auto totals = nlohmann::json::parse(result.output);
  EXPECT_EQ(totals["documents"], 2);
  EXPECT_EQ(totals["refused"], 6);
  EXPECT_EQ(totals["bytes"], 8);
  EXPECT_EQ(totals["complete"], false);
}

TEST_F(CommandTest, ScoreWaitsForAnOverloadedServer) {
  std::atomic<int> calls = 0;
  server_.OnScore([&calls](grpc::ServerContext*, const v1::ScoreRequest& request,
                           grpc::ServerWriter<v1::ScoreResponse>* writer) {
    if (calls++ < 3) {
      return Busy(grpc::StatusCode::RESOURCE_EXHAUSTED, "full", absl::Milliseconds(1));
    }
    return ScoreBytes(request, writer);
  });

  const Result result = Run({"score", "--file", File("one.jsonl", "{\"text\": \"abcd\"}\n")});

  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(nlohmann::json::parse(result.output)["documents"], 1);
  EXPECT_EQ(calls, 4);
}

TEST_F(CommandTest, ScoreStopsAtATransportErrorAndSaysSo) {
  const Result result = Run({"score", "--server", "127.0.0.1:1", "--file",
                             File("lost.jsonl", "{\"text\": \"abcd\"}\n{\"text\": \"efgh\"}\n")});

  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.errors, HasSubstr("no server answers"));
  EXPECT_EQ(nlohmann::json::parse(result.output)["complete"], false);
}

TEST_F(CommandTest, ModelsShowsATableAndJson) {
  const Result table = Run({"models"});
  EXPECT_EQ(table.exit_code, 0) << table.errors;
  EXPECT_THAT(table.output, AllOf(HasSubstr("NAME"), HasSubstr("tiny"), HasSubstr("6.62 M"),
                                  HasSubstr("1.60 MB"), HasSubstr("eyes"), HasSubstr("316 K")));
  EXPECT_THAT(table.output, Not(HasSubstr("{")));
  const auto list = nlohmann::json::parse(Run({"models", "--json"}).output);
  EXPECT_EQ(list["models"][1]["kind"], "detector");
  const auto tiny = nlohmann::json::parse(Run({"models", "tiny", "--json"}).output);
  EXPECT_EQ(tiny["state_bytes"], 1600000);
  EXPECT_EQ(tiny["architecture"]["config"]["vocab_size"], 256);
  EXPECT_THAT(Run({"models", "tiny"}).output, HasSubstr("whatever its length"));
  const auto eyes = nlohmann::json::parse(Run({"models", "eyes", "--json"}).output);
  EXPECT_EQ(eyes["class_names"][1], "speck");
  EXPECT_EQ(eyes["defaults"]["iou_threshold"], 0.6);
  EXPECT_THAT(Run({"models", "eyes"}).output,
              AllOf(HasSubstr("cell, speck"), HasSubstr("320 x 320 pixels, letterbox")));
}

TEST_F(CommandTest, TokenizeAndDetokenizeAreInverse) {
  const Result table = Run({"tokenize", "h\xC3\xA9"});
  EXPECT_THAT(table.output, AllOf(HasSubstr("104  \"h\""), HasSubstr("195  \"\\xc3\"")));
  const Result ids = Run({"tokenize", "--ids", "hey"});
  EXPECT_EQ(ids.output, "104 101 121\n");
  EXPECT_EQ(Run({"detokenize"}, ids.output).output, "hey\n");
  EXPECT_EQ(Run({"detokenize", "104", "101"}).output, "he\n");
  EXPECT_EQ(Run({"detokenize"}, "104 e").exit_code, 2);
  EXPECT_EQ(nlohmann::json::parse(Run({"tokenize", "hi", "--json"}).output)["token_ids"][1], 'i');
}

TEST_F(CommandTest, HealthIsAnExitCode) {
  EXPECT_EQ(Run({"health"}).output, "serving\n");
  server_.server().GetHealthCheckService()->SetServingStatus(false);
  const Result down = Run({"health"});
  EXPECT_EQ(down.exit_code, 1);
  EXPECT_EQ(down.output, "not serving\n");
}

}  // namespace
}  // namespace ela
