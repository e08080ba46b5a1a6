#include "server/sealed_state.h"

#include <sys/stat.h>

#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/temporary_directory.h"
#include "tests/server/sealed_samples.h"

namespace ela {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

SealKeys Keys(const std::string& text = kSampleKeys) {
  const auto keys = SealKeys::Parse(text, "keys");
  EXPECT_EQ(keys.status(), absl::OkStatus());
  return *keys;
}

std::string Sealed(const SealKeys* keys) {
  const auto blob = SealState(SampleState(), keys);
  EXPECT_EQ(blob.status(), absl::OkStatus());
  return *blob;
}

void ExpectSame(const SealedState& a, const SealedState& b) {
  EXPECT_EQ(a.model_fingerprint, b.model_fingerprint);
  EXPECT_EQ(a.position, b.position);
  EXPECT_EQ(a.lobe, b.lobe);
  EXPECT_EQ(a.first_token_position, b.first_token_position);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.details, b.details);
  EXPECT_TRUE(a.state == b.state);
}

void ExpectRefused(const absl::Status& status, StatusCode code, const std::string& words) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(words));
}

TEST(SealedStateTest, OpensToWhatWasSealed) {
  const SealKeys keys = Keys();
  for (const SealKeys* with : {static_cast<const SealKeys*>(nullptr), &keys}) {
    const auto opened = OpenSealedState(Sealed(with), with, {});
    ASSERT_EQ(opened.status(), absl::OkStatus());
    ExpectSame(*opened, SampleState());
  }
  const auto empty = OpenSealedState(*SealState(SealedState(), nullptr), nullptr, {});
  ASSERT_EQ(empty.status(), absl::OkStatus());
  ExpectSame(*empty, SealedState());
}

TEST(SealedStateTest, EnvelopesOfReleasedVersionsOpen) {
  const SealKeys keys = Keys();
  const std::string directory = std::string(ELA_SOURCE_DIR) + "/tests/golden/sealed/";
  const auto plain = OpenSealedState(ReadBytes(directory + "v1_plain.bin"), nullptr, {});
  ASSERT_EQ(plain.status(), absl::OkStatus());
  ExpectSame(*plain, SampleState());
  const auto encrypted = OpenSealedState(ReadBytes(directory + "v1_aes256gcm.bin"), &keys, {});
  ASSERT_EQ(encrypted.status(), absl::OkStatus());
  ExpectSame(*encrypted, SampleState());
}

TEST(SealedStateTest, HeaderReadsWithoutAKey) {
  const SealKeys keys = Keys();
  const std::string blob = Sealed(&keys);
  const auto header = ReadSealedHeader(blob, 1 << 20);
  ASSERT_EQ(header.status(), absl::OkStatus());
  EXPECT_TRUE(header->encrypted);
  EXPECT_EQ(header->key_id, "2026-11");
  EXPECT_EQ(header->model_fingerprint, SampleState().model_fingerprint);
  EXPECT_EQ(header->position, 1234567);
  EXPECT_EQ(header->payload_bytes + 224, blob.size());
}

TEST(SealedStateTest, EncryptionHidesContentsAndNeverRepeats) {
  const SealKeys keys = Keys();
  const std::string blob = Sealed(&keys);
  EXPECT_EQ(blob.find("medicine"), std::string::npos);
  EXPECT_NE(Sealed(nullptr).find("medicine"), std::string::npos);
  EXPECT_NE(blob, Sealed(&keys));
}

TEST(SealedStateTest, AnyFlippedBitIsDataLoss) {
  const SealKeys keys = Keys();
  std::mt19937 random(1);
  for (const SealKeys* with : {static_cast<const SealKeys*>(nullptr), &keys}) {
    const std::string blob = Sealed(with);
    for (size_t bit = 0; bit < 8 * blob.size(); bit += bit < 8 * 240 ? 1 : 1 + random() % 40) {
      std::string damaged = blob;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
      const absl::Status status = OpenSealedState(damaged, with, {}).status();
      ASSERT_EQ(status.code(), StatusCode::kDataLoss) << "bit " << bit << ": " << status;
    }
  }
}

TEST(SealedStateTest, AnyOtherLengthIsDataLoss) {
  const SealKeys keys = Keys();
  const std::string blob = Sealed(&keys);
  for (size_t size = 0; size < blob.size(); size += size < 300 ? 1 : 61) {
    ASSERT_EQ(OpenSealedState(blob.substr(0, size), &keys, {}).status().code(),
              StatusCode::kDataLoss);
  }
  ExpectRefused(OpenSealedState(blob.substr(0, 1000), &keys, {}).status(), StatusCode::kDataLoss,
                "it has 776 bytes behind its header, which says ");
  ExpectRefused(OpenSealedState(blob + "x", &keys, {}).status(), StatusCode::kDataLoss,
                "bytes behind its header");
  ExpectRefused(OpenSealedState("", &keys, {}).status(), StatusCode::kDataLoss,
                "these bytes are no sealed state");
  ExpectRefused(OpenSealedState(std::string(1000, 'x'), &keys, {}).status(), StatusCode::kDataLoss,
                "these bytes are no sealed state");
}

TEST(SealedStateTest, EachMissingOrWrongKeyIsToldApart) {
  const SealKeys keys = Keys();
  const std::string blob = Sealed(&keys);
  ExpectRefused(OpenSealedState(blob, nullptr, {}).status(), StatusCode::kFailedPrecondition,
                "sealed with key \"2026-11\", this server has no keys");
  const SealKeys others = Keys("a " + std::string(64, '1') + "\nb " + std::string(64, '2'));
  ExpectRefused(OpenSealedState(blob, &others, {}).status(), StatusCode::kFailedPrecondition,
                "sealed with key \"2026-11\", this server has a, b");
  const SealKeys impostor = Keys("2026-11 " + std::string(64, '1'));
  ExpectRefused(OpenSealedState(blob, &impostor, {}).status(), StatusCode::kFailedPrecondition,
                "is not the key that this server has under that id");
}

TEST(SealedStateTest, KeysRotate) {
  const SealKeys old = Keys("2026-05 " + std::string(64, 'a'));
  const SealKeys rotated =
      Keys("2026-11 " + std::string(64, 'b') + "\n2026-05 " + std::string(64, 'a'));
  EXPECT_EQ(OpenSealedState(Sealed(&old), &rotated, {}).status(), absl::OkStatus());
  EXPECT_EQ(ReadSealedHeader(Sealed(&rotated), 1 << 20)->key_id, "2026-11");
}

TEST(SealedStateTest, UnencryptedIsRefusedWhereThereAreKeys) {
  const SealKeys keys = Keys();
  ExpectRefused(OpenSealedState(Sealed(nullptr), &keys, {}).status(),
                StatusCode::kFailedPrecondition, "the state is not encrypted");
  OpenSealedOptions options;
  options.allow_unencrypted = true;
  EXPECT_EQ(OpenSealedState(Sealed(nullptr), &keys, options).status(), absl::OkStatus());
}

TEST(SealedStateTest, AnotherModelIsRefusedBeforeAnyKey) {
  const SealKeys keys = Keys();
  OpenSealedOptions options;
  options.model_fingerprint = std::string(64, 'f');
  ExpectRefused(OpenSealedState(Sealed(&keys), nullptr, options).status(),
                StatusCode::kFailedPrecondition, "is of the model with fingerprint 0123456789");
}

TEST(SealedStateTest, TooLargeIsRefusedByItsSize) {
  const std::string blob = Sealed(nullptr);
  OpenSealedOptions options;
  options.max_bytes = blob.size() - 1;
  ExpectRefused(OpenSealedState(blob, nullptr, options).status(), StatusCode::kInvalidArgument,
                "this server allows " + std::to_string(blob.size() - 1));
}

TEST(SealedStateTest, WhatCannotBeSealedIsRefused) {
  SealedState state = SampleState();
  state.model_fingerprint = "short";
  EXPECT_EQ(SealState(state, nullptr).status().code(), StatusCode::kInvalidArgument);
  state = SampleState();
  state.position = -1;
  EXPECT_EQ(SealState(state, nullptr).status().code(), StatusCode::kInvalidArgument);
}

TEST(SealKeysTest, FileIsReadWithCommentsAndSpaces) {
  const SealKeys keys = Keys("\r\n# c\n  one\t" + std::string(64, 'A') + " # it\r\n\n" + "two " +
                             std::string(64, '0'));
  EXPECT_EQ(keys.Ids(), "one, two");
  EXPECT_EQ(keys.sealing().bytes[31], 0xAA);
  EXPECT_EQ(keys.Find("three"), nullptr);
}

TEST(SealKeysTest, WrongLinesAreNamedAndNoKeyIsShown) {
  const std::string secret(63, 'd');
  const struct {
    std::string text, words;
  } cases[] = {
      {"", "holds no key"},
      {"# nothing\n", "holds no key"},
      {"a\n", "line 1: a key is an id and 64 hexadecimal digits"},
      {"\na " + secret + "\n", "line 2: key a is not 64 hexadecimal digits but 63 characters"},
      {"a " + secret + "g", "line 1: key a is not 64"},
      {"a/b " + secret + "d", "line 1: an id has"},
      {"a2345678901234567 " + secret + "d", "line 1: an id has"},
      {"a " + secret + "d\na " + secret + "e", "line 2: a is here twice"},
  };
  for (const auto& [text, words] : cases) {
    const absl::Status status = SealKeys::Parse(text, "keys").status();
    ExpectRefused(status, StatusCode::kInvalidArgument, words);
    EXPECT_EQ(std::string(status.message()).find("ddd"), std::string::npos);
  }
}

TEST(SealKeysTest, FileThatEverybodyReadsIsRefused) {
  TemporaryDirectory directory;
  directory.Write("keys", kSampleKeys);
  chmod((directory / "keys").c_str(), 0644);
  ExpectRefused(SealKeys::Load(directory / "keys").status(), StatusCode::kFailedPrecondition,
                "everybody may read or change it");
  chmod((directory / "keys").c_str(), 0640);
  EXPECT_EQ(SealKeys::Load(directory / "keys")->Ids(), "2026-11, 2026-05");
  EXPECT_EQ(SealKeys::Load(directory / "none").status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace ela
