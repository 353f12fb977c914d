"""The official client against the service of the tests: whatever it sends has to be understood, and whatever it gets, too.

usage: client.py HOST:PORT KEY_ID KEY REGION      prints `agreed` if all went well

A name that nobody resolves, and the service as a proxy: the client puts the project before whatever it is given.
"""

import os
import sys
import time

from aliyun.log import LogClient, LogException, LogItem, PutLogsRequest
from aliyun.log.auth import AUTH_VERSION_1, AUTH_VERSION_4

SERVICE, KEY_ID, KEY, REGION = sys.argv[1:]
ENDPOINT = "sls.local"
os.environ["http_proxy"] = f"http://{SERVICE}"
os.environ["no_proxy"] = ""
PROJECT, STORE = "canary", "access"


def refused(code, call, *arguments):
    try:
        call(*arguments)
    except LogException as error:
        assert error.get_error_code() == code, error
        return
    raise AssertionError(f"{code} was expected")


def check(version):
    region = REGION if version == AUTH_VERSION_4 else ""
    client = LogClient(ENDPOINT, KEY_ID, KEY, auth_version=version, region=region)
    begin = client.get_cursor(PROJECT, STORE, 0, "end").get_cursor()
    logs = [LogItem(1700000000 + i, contents=[("n", str(i)), ("text", "\u4e2d " * 50)]) for i in range(30)]
    client.put_logs(PutLogsRequest(PROJECT, STORE, "a topic", "10.0.0.9", logs, logtags=[("__path__", "/a b")]))
    shards = client.list_shards(PROJECT, STORE).get_shards_info()
    assert [shard["shardID"] for shard in shards] == [0, 1], shards
    pulled = client.pull_logs(PROJECT, STORE, 0, begin, 10)
    groups = pulled.get_loggroup_list().LogGroups
    assert pulled.get_loggroup_count() == len(groups) == 1
    assert groups[0].Topic == "a topic" and groups[0].Source == "10.0.0.9", groups
    assert [log.Time for log in groups[0].Logs] == [1700000000 + i for i in range(30)]
    assert groups[0].Logs[7].Contents[0].Value == "7"
    end = client.get_cursor(PROJECT, STORE, 0, "end").get_cursor()
    assert pulled.get_next_cursor() == end != begin
    after = client.pull_logs(PROJECT, STORE, 0, end, 10)
    assert after.get_loggroup_count() == 0 and after.get_next_cursor() == end
    assert abs(int(client.get_cursor_time(PROJECT, STORE, 0, begin).get_cursor_time()) - time.time()) < 60
    refused("InvalidCursor", client.pull_logs, PROJECT, STORE, 0, "bm9uZQ==", 10)
    group = f"by_hand_{1 if version == AUTH_VERSION_1 else 4}"
    client.create_consumer_group(PROJECT, STORE, group, 5, False)
    refused("ConsumerGroupAlreadyExist", client.create_consumer_group, PROJECT, STORE, group, 5, False)
    client.update_consumer_group(PROJECT, STORE, group, 7, True)
    names = {one.get_consumer_group_name(): one for one in client.list_consumer_group(PROJECT, STORE).get_consumer_groups()}
    assert names[group].get_timeout() == 7 and names[group].is_in_order()
    assert client.heart_beat(PROJECT, STORE, group, "me", []).get_shards() == [0, 1]
    client.update_check_point(PROJECT, STORE, group, 0, end, "me", False)
    refused("ConsumerNotExsit", client.update_check_point, PROJECT, STORE, group, 0, end, "you", False)
    for shard, expected in [(-1, [(0, end, "me"), (1, "", "me")]), (0, [(0, end, "me")]), (1, [(1, "", "me")])]:
        points = client.get_check_point(PROJECT, STORE, group, shard).get_consumer_group_check_points()
        assert [(one["shard"], one["checkpoint"], one["consumer"]) for one in points] == expected, points
    client.delete_consumer_group(PROJECT, STORE, group)
    refused("ConsumerGroupNotExist", client.get_check_point, PROJECT, STORE, group)
    stranger = LogClient(ENDPOINT, KEY_ID, "another", auth_version=version, region=region)
    refused("SignatureNotMatch", stranger.list_shards, PROJECT, STORE)


check(AUTH_VERSION_1)
check(AUTH_VERSION_4)
print("agreed")
