/* fuzz - the function that a fuzzer calls; its name and type are libFuzzer's */
#ifndef CONVOY_TESTS_FUZZ_FUZZ_H
#define CONVOY_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
