"""The official client against the store of the tests: whatever it sends has to be understood, and whatever it gets, too.

usage: official.py http://HOST:PORT      prints `agreed` if all went well
"""

import sys

import oss2

ID, SECRET, BUCKET = "emulators-id", "emulators-secret", "bucket"
endpoint = sys.argv[1]


def provider(secret=SECRET):
    return oss2.credentials.StaticCredentialsProvider(ID, secret)


def refused(status, code, call):
    try:
        call()
    except oss2.exceptions.ServerError as error:
        assert (error.status, error.code) == (status, code), (error.status, error.code)
    else:
        raise AssertionError(f"not refused with {status} {code}")


for auth, region in [
    (oss2.ProviderAuth(provider()), None),
    (oss2.ProviderAuthV4(provider()), "cn-hangzhou"),
]:
    bucket = oss2.Bucket(auth, endpoint, BUCKET, region=region, enable_crc=False)
    key = "dir/a b+ü&1"
    bucket.put_object(key, b"one", headers={"x-oss-meta-flumen": "m"})
    head = bucket.head_object(key)
    assert head.content_length == 3 and head.headers["x-oss-meta-flumen"] == "m"
    assert bucket.get_object(key).read() == b"one"
    forbid = {"x-oss-forbid-overwrite": "true"}
    # A HEAD and a conditional put say what is there.
    refused(409, "FileAlreadyExists", lambda: bucket.put_object(key, b"two", headers=forbid))
    assert [one.key for one in oss2.ObjectIteratorV2(bucket, prefix="dir/", max_keys=1)] == [key]
    bucket.delete_object(key)
    assert not bucket.object_exists(key)
    upload = bucket.init_multipart_upload(key).upload_id
    assert [one.upload_id for one in oss2.MultipartUploadIterator(bucket, prefix="dir/")] == [upload]
    parts = []
    for number, body in [(1, b"x" * 102400), (2, b"y")]:
        result = bucket.upload_part(key, upload, number, body)
        parts.append(oss2.models.PartInfo(number, result.etag))
    assert not bucket.object_exists(key)
    bucket.complete_multipart_upload(key, upload, parts, headers=forbid)
    assert bucket.get_object(key).read() == b"x" * 102400 + b"y"
    refused(404, "NoSuchUpload", lambda: bucket.complete_multipart_upload(key, upload, parts))
    upload = bucket.init_multipart_upload(key).upload_id
    part = bucket.upload_part(key, upload, 1, b"short")
    more = bucket.upload_part(key, upload, 2, b"last")
    parts = [oss2.models.PartInfo(1, part.etag), oss2.models.PartInfo(2, more.etag)]
    refused(400, "EntityTooSmall", lambda: bucket.complete_multipart_upload(key, upload, parts))
    bucket.abort_multipart_upload(key, upload)
    bucket.delete_object(key)

wrong = oss2.Bucket(oss2.ProviderAuth(provider("wrong")), endpoint, BUCKET)
refused(403, "SignatureDoesNotMatch", lambda: wrong.put_object("a", b""))
print("agreed")
