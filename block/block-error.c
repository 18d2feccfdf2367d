/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens to a failed request (rerror=, werror=): the guest is told, the failure is hidden, or the
 * machine stops, the request waits, and is tried again when the machine goes on.  Each failure is an event.
 */
#include <errno.h>
#include <json-c/json.h>

#include "block/block-internal.h"

struct BlockHold {
    BlockReqQueue waiting;
    LoopBh *retry;
};

/* In the order of BlockErrorAction. */
const char *const block_rerror_words[] = {"auto", "report", "ignore", "stop", NULL};
const char *const block_werror_words[] = {"auto", "report", "ignore", "stop", "enospc", NULL};

void block_set_error_actions(BlockBackend *blk, int rerror, int werror)
{
    blk->user_read_error = (BlockErrorAction)rerror;
    blk->user_write_error = (BlockErrorAction)werror;
}

static bool is_read(const BlockReq *req)
{
    return req->kind == BLOCK_OP_READ;
}

static BlockErrorAction action_for(const BlockReq *req)
{
    BlockBackend *blk = req->blk;
    BlockErrorAction action = is_read(req) ? blk->user_read_error : blk->user_write_error;

    if (action == BLOCK_ERROR_AUTO) {
        action = is_read(req) ? blk->on_read_error : blk->on_write_error;
    }
    if (action == BLOCK_ERROR_AUTO) {
        /* Without CPUs there is nobody whose running could be stopped. */
        action = blk->obj.machine->accel && !is_read(req) ? BLOCK_ERROR_ENOSPC : BLOCK_ERROR_REPORT;
    }
    if (action == BLOCK_ERROR_ENOSPC) {
        action = req->result == -ENOSPC ? BLOCK_ERROR_STOP : BLOCK_ERROR_REPORT;
    }
    return action;
}

static void emit(const BlockReq *req, BlockErrorAction action)
{
    static const char *const names[] = {
        [BLOCK_ERROR_REPORT] = "report", [BLOCK_ERROR_IGNORE] = "ignore", [BLOCK_ERROR_STOP] = "stop"};
    struct json_object *data = json_object_new_object();
    const char *id = req->blk->obj.id;

    json_object_object_add(data, "device", json_object_new_string(id));
    json_object_object_add(data, "node-name", json_object_new_string(id));
    json_object_object_add(data, "operation", json_object_new_string(is_read(req) ? "read" : "write"));
    json_object_object_add(data, "action", json_object_new_string(names[action]));
    json_object_object_add(data, "nospace", json_object_new_boolean(req->result == -ENOSPC));
    json_object_object_add(data, "reason", json_object_new_string(g_strerror(-req->result)));
    machine_emit_event(req->blk->obj.machine, "BLOCK_IO_ERROR", data);
}

/* --- waiting --- */

static void retry(void *opaque)
{
    BlockHold *h = opaque;
    BlockReqQueue waiting = h->waiting;
    BlockReq *req;

    h->waiting = (BlockReqQueue){NULL, NULL};
    while ((req = block_queue_pop(&waiting))) {
        req->result = 0;
        block_req_start(req);
    }
}

/* Main loop. */
static void run_state_changed(void *opaque, bool running, RunState state)
{
    BlockHold *h = opaque;

    if (running) {
        loop_bh_schedule(h->retry);
    }
}

static void stop_machine(void *opaque)
{
    Machine *m = opaque;

    if (m->run_state == RUN_STATE_RUNNING) {
        machine_vm_stop(m, RUN_STATE_IO_ERROR);
    }
}

void block_error_hold(BlockReq *req)
{
    block_queue_push(&req->blk->hold->waiting, req);
}

void block_error_retry(BlockBackend *blk)
{
    if (blk->hold) {
        loop_bh_schedule(blk->hold->retry);
    }
}

static void hold(BlockReq *req)
{
    BlockBackend *blk = req->blk;

    block_error_hold(req);
    loop_call(blk->obj.machine->main_loop, stop_machine, blk->obj.machine);
}

bool block_error_handle(BlockReq *req)
{
    BlockErrorAction action = action_for(req);

    emit(req, action);
    if (action == BLOCK_ERROR_IGNORE) {
        req->result = 0;
    } else if (action == BLOCK_ERROR_STOP) {
        hold(req);
        return true;
    }
    return false;
}

void block_error_give_up(BlockBackend *blk)
{
    BlockReq *req;

    while (blk->hold && (req = block_queue_pop(&blk->hold->waiting))) {
        block_req_finish(req);
    }
}

void block_error_attach(BlockBackend *blk)
{
    BlockHold *h = g_new0(BlockHold, 1);

    h->retry = loop_bh_new(blk->loop, retry, h);
    blk->hold = h;
    machine_add_run_state_handler(blk->obj.machine, run_state_changed, h);
}

void block_error_detach(BlockBackend *blk)
{
    BlockHold *h = g_steal_pointer(&blk->hold);

    block_set_error_actions(blk, BLOCK_ERROR_AUTO, BLOCK_ERROR_AUTO);
    if (h) {
        machine_remove_run_state_handler(blk->obj.machine, run_state_changed, h);
        loop_bh_free(h->retry);
        g_free(h);
    }
}
