/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests of core/trace.c: masks, patterns, and what reaches the log file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "core/model.h"
#include "core/trace.h"

static TraceEvent events_a[] = {{"disk_read", false}, {"disk_write", false}, {NULL, false}};
static TraceEvent events_b[] = {{"net_send", false}, {NULL, false}};

const Model *const model_table[] = {NULL};
TraceEvent *const trace_tables[] = {events_a, events_b, NULL};

static void test_mask(void **state)
{
    g_autoptr(GError) error = NULL;

    assert_true(log_set_mask("guest_errors,unimp", &error));
    assert_int_equal(log_mask, LOG_GUEST_ERROR | LOG_UNIMP);
    assert_false(log_set_mask("gest_errors", &error));
    assert_non_null(strstr(error->message, "unknown log item ('gest_errors'"));
}

static void test_patterns(void **state)
{
    g_autoptr(GError) error = NULL;

    assert_true(trace_enable("disk_*", NULL));
    assert_true(events_a[0].enabled && events_a[1].enabled && !events_b[0].enabled);
    assert_true(trace_enable("net_send", NULL));
    assert_true(events_b[0].enabled);
    assert_false(trace_enable("nosuch*", &error));
    assert_non_null(strstr(error->message, "no event matches 'nosuch*'"));
}

static void test_file(void **state)
{
    g_autofree char *path = NULL, *text = NULL;
    g_autoptr(GError) error = NULL;
    int fd = g_file_open_tmp("mpqemu-log-XXXXXX", &path, NULL);

    assert_true(fd >= 0);
    close(fd);
    assert_true(log_set_file(path, NULL));
    log_mask = LOG_GUEST_ERROR;
    log_line(LOG_GUEST_ERROR, "first %d", 1);
    log_line(LOG_CPU_RESET, "not this");
    log_line(LOG_GUEST_ERROR, "second\n");
    events_b[0].enabled = true;
    TRACE(&events_b[0], "len %d", 7);
    events_b[0].enabled = false;
    TRACE(&events_b[0], "nor this");
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_string_equal(text, "first 1\nsecond\nnet_send len 7\n");
    unlink(path);
    assert_false(log_set_file("/nonexistent/log", &error));
    assert_non_null(strstr(error->message, "No such file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
