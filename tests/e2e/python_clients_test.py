"""Clients that nobody here wrote: grpcio with stubs from our protos, grpc_health, reflection, and
googleapis-common-protos for the details of errors."""

import concurrent.futures
import unittest

import grpc
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from house import DETECTOR, SOURCE, Server, TestCase, details, detection, generation, models


class PythonClients(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(detector=DETECTOR)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def reflect(self, **request):
        stub = reflection_pb2_grpc.ServerReflectionStub(self.server.channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**request)]))
        return next(call)

    def test_health_of_the_server_and_of_each_service(self):
        health = health_pb2_grpc.HealthStub(self.server.channel)
        for service in ("", "ela.v1.Detection", "ela.v1.Generation", "ela.v1.Models"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING, service)
        self.assert_refused(
            lambda: health.Check(health_pb2.HealthCheckRequest(service="no.such.Service")),
            grpc.StatusCode.NOT_FOUND,
        )

    def test_reflection_lists_the_services_and_describes_them(self):
        listed = self.reflect(list_services="").list_services_response.service
        names = {service.name for service in listed}
        self.assertLessEqual({"ela.v1.Detection", "ela.v1.Generation", "ela.v1.Models"}, names)
        answer = self.reflect(file_containing_symbol="ela.v1.Generation")
        methods = set()
        for data in answer.file_descriptor_response.file_descriptor_proto:
            for service in descriptor_pb2.FileDescriptorProto.FromString(data).service:
                methods |= {f"{service.name}.{method.name}" for method in service.method}
        self.assertLessEqual({"Generation.Generate", "Generation.Score"}, methods)

    def test_a_stream_ends_with_its_finish_and_carries_the_request_id(self):
        request = generation.GenerateRequest(
            text="Hello from Python", request_id="python-1",
            stopping=generation.StoppingOptions(max_new_tokens=10, ignore_eos=True),
            output=generation.OutputOptions(top_logprobs=3, logprobs=True, routing=True),
        )
        call = self.server.generation.Generate(request)
        messages = list(call)
        self.assertEqual([m.HasField("finish") for m in messages].count(True), 1)
        self.assertTrue(messages[-1].HasField("finish"))
        self.assertEqual(dict(call.initial_metadata())["ela-request-id"], "python-1")
        tokens = sum(len(m.token_ids) for m in messages)
        self.assertEqual(tokens, 10)
        for message in messages:
            self.assertEqual(len(message.logprobs), len(message.token_ids))
            self.assertEqual(len(message.routing), len(message.token_ids))
            for top in message.top_logprobs:
                self.assertEqual(len(top.token_ids), 3)

    def test_error_details_decode_with_googles_own_messages(self):
        request = generation.GenerateRequest(
            text="x", sampling=generation.SamplingOptions(top_p=2)
        )
        error = self.assert_refused(
            lambda: self.server.generation.Generate(request), grpc.StatusCode.INVALID_ARGUMENT
        )
        found = details(error)
        self.assertEqual(found["BadRequest"].field_violations[0].field, "sampling.top_p")

    def test_many_clients_at_once_get_what_one_alone_gets(self):
        def collect(seed):
            request = generation.GenerateRequest(
                text=f"Number {seed}", sampling=generation.SamplingOptions(seed=seed),
                stopping=generation.StoppingOptions(max_new_tokens=60, ignore_eos=True),
            )
            return [t for m in self.server.generation.Generate(request) for t in m.token_ids]

        alone = [collect(seed) for seed in range(24)]
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            together = list(pool.map(collect, range(24)))
        self.assertEqual(alone, together)

    def test_describe_says_what_a_client_needs(self):
        language = self.server.models.Describe(models.DescribeModelRequest()).language
        self.assertEqual(language.architecture.hidden_size, 64)
        self.assertGreater(language.state_bytes, 0)
        self.assertGreater(language.limits.max_message_bytes, 0)
        self.assertEqual(list(language.eos_token_ids), [2])
        listed = self.server.models.List(models.ListModelsRequest()).models
        self.assertEqual([model.kind for model in listed], [1, 2])
        detector = self.server.models.Describe(models.DescribeModelRequest(model="lat-3")).detector
        self.assertEqual(detector, self.server.detection.DescribeDetector(detection.DescribeDetectorRequest()))
        self.assertEqual(len(detector.class_names), 3)
        self.assertEqual(detector.input_width, 320)

    def test_detect_answers_each_picture_and_a_bad_one_alone(self):
        photo = sorted((SOURCE / "deploy" / "samples").glob("*.jpg"))[0].read_bytes()
        request = detection.DetectRequest(
            images=[detection.DetectImage(encoded=data) for data in (photo, b"no picture", photo)],
            options=detection.DetectOptions(score_threshold=0, max_detections=5),
        )
        answer = self.server.detection.Detect(request)
        self.assertEqual(answer.model, "lat-3")
        self.assertEqual(len(answer.results), 3)
        first, bad, last = answer.results
        self.assertEqual((first.width, first.height, first.orientation), (640, 480, 1))
        self.assertEqual(len(first.objects), 5)
        self.assertEqual(list(first.objects), list(last.objects))
        self.assertEqual(bad.error.code, grpc.StatusCode.INVALID_ARGUMENT.value[0])
        info = error_details_pb2.ErrorInfo()
        self.assertTrue(bad.error.details[0].Unpack(info))
        self.assertEqual(info.reason, "IMAGE_UNKNOWN_FORMAT")

    def test_a_stream_of_frames_keeps_ids_and_order(self):
        def frames():
            yield detection.DetectStreamRequest(start=detection.StreamStart(request_id="frames-1"))
            for frame_id in (7, 3, 9):
                raw = detection.RawPicture(
                    format=detection.RawPicture.FORMAT_GRAY8, width=64, height=48,
                    pixels=bytes([frame_id]) * (64 * 48),
                )
                yield detection.DetectStreamRequest(
                    frame=detection.StreamFrame(frame_id=frame_id, image=detection.DetectImage(raw=raw))
                )

        call = self.server.detection.DetectStream(frames())
        results = list(call)
        self.assertEqual([result.frame_id for result in results], [7, 3, 9])
        self.assertEqual([result.result.width for result in results], [64] * 3)
        self.assertEqual(dict(call.initial_metadata())["ela-request-id"], "frames-1")


if __name__ == "__main__":
    unittest.main(verbosity=2)
