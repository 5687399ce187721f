// Running a fuzzer's test on files that exist, without libFuzzer: `replay FILE...`. Called by ctest.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int count, char** files) {
  for (int i = 1; i < count; i++) {
    std::printf("%s\n", files[i]);
    std::fflush(stdout);
    std::ifstream in(files[i], std::ios::binary);
    if (!in) return 1;
    const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
  return count > 1 ? 0 : 1;
}
