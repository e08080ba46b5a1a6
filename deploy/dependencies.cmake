# Every library that is not ours, in one place. Debian 12's packages, but for LibTorch (a PyPI wheel).
# A user may point CMake at newer builds of any of them with CMAKE_PREFIX_PATH.
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC REQUIRED)
find_package(prometheus-cpp REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(TURBOJPEG REQUIRED IMPORTED_TARGET libturbojpeg)
pkg_check_modules(SPNG REQUIRED IMPORTED_TARGET spng)
pkg_check_modules(CAIRO REQUIRED IMPORTED_TARGET cairo)
pkg_check_modules(PUGIXML REQUIRED IMPORTED_TARGET pugixml)
pkg_check_modules(ROCKSDB REQUIRED IMPORTED_TARGET rocksdb)
pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis)
find_package(OpenSSL REQUIRED)
if(ELA_TESTS)
  find_package(GTest REQUIRED)
  find_package(benchmark REQUIRED)
endif()

# LibTorch, two imported targets made by hand. find_package(Torch) would demand a CUDA toolkit and add GPU
# targets, and the wheel on CMAKE_PREFIX_PATH would put its own old protobuf before Debian's.
if(ELA_TORCH)
  file(GLOB ELA_TORCH_ROOT ${ELA_DEPS}/torch/lib/python3*/site-packages/torch)
  if(NOT ELA_TORCH_ROOT)
    message(FATAL_ERROR "LibTorch is not in ${ELA_DEPS}/torch: run deploy/install_deps.sh, or set ELA_TORCH=OFF")
  endif()
  add_library(torch_c10 SHARED IMPORTED)
  set_target_properties(torch_c10 PROPERTIES IMPORTED_LOCATION ${ELA_TORCH_ROOT}/lib/libc10.so)
  add_library(torch SHARED IMPORTED)
  set_target_properties(torch PROPERTIES
    IMPORTED_LOCATION ${ELA_TORCH_ROOT}/lib/libtorch_cpu.so
    INTERFACE_INCLUDE_DIRECTORIES "${ELA_TORCH_ROOT}/include;${ELA_TORCH_ROOT}/include/torch/csrc/api/include"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${ELA_TORCH_ROOT}/include;${ELA_TORCH_ROOT}/include/torch/csrc/api/include"
    INTERFACE_LINK_LIBRARIES "torch_c10;Threads::Threads")
endif()
