"""Clients that nobody here wrote: grpcio with stubs from our protos, grpc_health, reflection, and
googleapis-common-protos for the details of errors."""

import concurrent.futures
import unittest

import grpc
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from house import Server, TestCase, details, generation, models


class PythonClients(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def reflect(self, **request):
        stub = reflection_pb2_grpc.ServerReflectionStub(self.server.channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**request)]))
        return next(call)

    def test_health_of_the_server_and_of_each_service(self):
        health = health_pb2_grpc.HealthStub(self.server.channel)
        for service in ("", "ela.v1.Generation", "ela.v1.Models"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING, service)
        self.assert_refused(
            lambda: health.Check(health_pb2.HealthCheckRequest(service="no.such.Service")),
            grpc.StatusCode.NOT_FOUND,
        )

    def test_reflection_lists_the_services_and_describes_them(self):
        listed = self.reflect(list_services="").list_services_response.service
        names = {service.name for service in listed}
        self.assertLessEqual({"ela.v1.Generation", "ela.v1.Models"}, names)
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
