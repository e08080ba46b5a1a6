#ifndef ELA_SERVER_VERSION_H_
#define ELA_SERVER_VERSION_H_

namespace ela {

inline constexpr char kVersion[] = ELA_VERSION;  // of the CMake project

}  // namespace ela

#endif  // ELA_SERVER_VERSION_H_
