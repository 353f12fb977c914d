"""The official client's worker: a member of a consumer group, beside others. It prints the first content of each log, and ends when its
standard input does.

usage: member.py HOST:PORT KEY_ID KEY GROUP NAME

The service is asked as client.py says.
"""

import os
import sys
import threading

from aliyun.log.consumer import ConsumerProcessorBase, ConsumerWorker, CursorPosition, LogHubConfig

SERVICE, KEY_ID, KEY, GROUP, NAME = sys.argv[1:]
os.environ["http_proxy"] = f"http://{SERVICE}"
os.environ["no_proxy"] = ""
ONE = threading.Lock()


class Printer(ConsumerProcessorBase):
    def process(self, log_groups, check_point_tracker):
        with ONE:
            for group in log_groups.LogGroups:
                for log in group.Logs:
                    print(log.Contents[0].Value)
            sys.stdout.flush()
        self.save_checkpoint(check_point_tracker, True)


option = LogHubConfig(
    "sls.local", KEY_ID, KEY, "canary", "access", GROUP, NAME,
    cursor_position=CursorPosition.BEGIN_CURSOR, heartbeat_interval=1, data_fetch_interval=0.1,
)
worker = ConsumerWorker(Printer, consumer_option=option)
worker.start()
sys.stdin.read()
worker.shutdown()
worker.join()
