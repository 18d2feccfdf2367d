/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One test case: an encoded instruction, the state it starts from and the
 * memory it sees.
 */
#ifndef TESTS_TCG_CASE_H
#define TESTS_TCG_CASE_H

#include <stdbool.h>

#include "tests/tcg/forms.h"
#include "tests/tcg/native.h"
#include "tests/tcg/values.h"

typedef struct TestCase {
    const Form *form;
    NativeState state;
    uint8_t code[48];
    unsigned len;       /* of code */
    uint64_t operand;   /* linear address of the memory operand, 0: none */
    uint16_t undefined; /* RFLAGS bits not compared */
} TestCase;

/*
 * Fills `test` for one form.  `data` is the native copy of the data pages; the
 * bytes around the operands get fresh values.
 */
void case_make(TestCase *test, const Form *form, TestRandom *random, uint8_t *data);

#endif
