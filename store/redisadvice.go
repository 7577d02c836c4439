package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
)

// redisAdvice is what to do about Redis's refusals, by the beginning of what it
// says, or a part of it. <prefix> stands for what all keys begin with.
var redisAdvice = []struct {
	signs []string
	Advice
}{
	{[]string{"NOAUTH "}, Advice{
		"unauthenticated",
		"Redis wants a password: write it into the URL, redis://<user>:<password>@<host>, percent-encoded, or redis://:<password>@<host> where there is no user",
		"Redis 需要密码：请写入 URL，即 redis://<用户>:<密码>@<主机>（特殊字符须百分号编码），没有用户名时写 redis://:<密码>@<主机>",
	}},
	{[]string{"called without any password configured", "but no password is set"}, Advice{
		"wrong_password",
		"Redis has no password: leave it out of the URL",
		"Redis 没有设置密码：请从 URL 中去掉密码",
	}},
	{[]string{"WRONGPASS ", "invalid password"}, Advice{
		"wrong_password",
		"user or password in the URL is wrong: check both, and that the password is percent-encoded (@ is %40, / is %2F, # is %23, ? is %3F, : is %3A, % is %25)",
		"URL 中的用户名或密码不对：请核对，密码中的特殊字符须百分号编码（@ 为 %40，/ 为 %2F，# 为 %23，? 为 %3F，: 为 %3A，% 为 %25）",
	}},
	{[]string{"NOPERM "}, Advice{
		"denied",
		"allow the Redis user what it needs: ACL SETUSER <user> resetkeys ~<prefix>* +get +set +del +eval +select (eval may be left out)",
		"请给 Redis 用户所需的权限：ACL SETUSER <用户> resetkeys ~<prefix>* +get +set +del +eval +select（eval 可以省略）",
	}},
	{[]string{"unknown command"}, Advice{
		"unsupported",
		"the server, or the proxy before it, lacks a command: GET, SET with NX and PX, and DEL are needed, AUTH with a password, SELECT with a database number",
		"服务器（或其前面的代理）缺少命令：需要 GET、SET（带 NX 与 PX）和 DEL；有密码时需要 AUTH，有数据库编号时需要 SELECT",
	}},
	{[]string{"READONLY "}, Advice{
		"read_only",
		"this is a replica, which cannot be written: write the primary's address, or the sentinels' with ?master_name=<name>",
		"这是只读副本：请写主节点的地址，或写哨兵的地址并加上 ?master_name=<名称>",
	}},
	{[]string{"MOVED ", "ASK "}, Advice{
		"cluster",
		"this is one node of a cluster: add another node to the URL, ?addr=<host>:<port>, so that it is used as a cluster",
		"这是集群中的一个节点：请在 URL 中加上另一个节点 ?addr=<主机>:<端口>，以集群方式使用",
	}},
	{[]string{"SELECT is not allowed in cluster mode"}, Advice{
		"cluster",
		"this is one node of a cluster, which has no numbered databases: leave the number out of the URL and add another node, ?addr=<host>:<port>",
		"这是集群中的一个节点，集群没有数据库编号：请从 URL 中去掉编号，并加上另一个节点 ?addr=<主机>:<端口>",
	}},
	{[]string{"DB index is out of range", "invalid DB index"}, Advice{
		"database",
		"the server has no database of this number: correct the end of the URL, /0 for example",
		"服务器没有这个编号的数据库：请修改 URL 的结尾，例如 /0",
	}},
	{[]string{"CLUSTERDOWN "}, Advice{
		"cluster",
		"the Redis cluster is down: see redis-cli cluster info",
		"Redis 集群不可用：请查看 redis-cli cluster info",
	}},
	{[]string{"MASTERDOWN ", "NOREPLICAS "}, Advice{
		"replication",
		"Redis's replication is broken: see redis-cli info replication",
		"Redis 主从复制异常：请查看 redis-cli info replication",
	}},
	{[]string{"OOM "}, Advice{
		"full",
		"Redis's memory is full: raise maxmemory, or set a maxmemory-policy that makes room",
		"Redis 内存已满：请调大 maxmemory，或设置可以腾出空间的 maxmemory-policy",
	}},
	{[]string{"MISCONF "}, Advice{
		"full",
		"Redis cannot write to its disk and takes nothing until it can: see its log, and whether the disk is full",
		"Redis 无法写入磁盘，在恢复之前拒绝写入：请查看其日志，检查磁盘是否已满",
	}},
	{[]string{"LOADING "}, Advice{
		"loading",
		"Redis has just started and is reading its data: wait until it has",
		"Redis 刚启动，正在载入数据：请等待",
	}},
	{[]string{"DENIED "}, Advice{
		"denied",
		"Redis is in protected mode and takes connections from its own machine only: set a password in Redis and in the URL",
		"Redis 处于保护模式，只接受本机连接：请在 Redis 中设置密码并写入 URL",
	}},
	{[]string{"max number of clients"}, Advice{
		"full",
		"Redis has too many clients: raise maxclients, or end those that are not needed",
		"Redis 的客户端连接过多：请调大 maxclients，或断开不需要的连接",
	}},
}

// redisNetAdvice is what to do where Redis is not even spoken to.
var redisNetAdvice = []struct {
	is func(error) bool
	Advice
}{
	{isTLSError, Advice{
		"tls",
		"TLS fails: write redis:// where Redis has no TLS, use the name that its certificate is for, or install the authority that has signed it",
		"TLS 失败：Redis 未启用 TLS 时请写 redis://；否则请使用证书中的主机名，或安装签发该证书的 CA",
	}},
	{isNoSuchHost, Advice{
		"unreachable",
		"the host in the URL is unknown: check its name, and the DNS",
		"无法解析 URL 中的主机名：请检查主机名与 DNS",
	}},
	{isClosed, Advice{
		"unreachable",
		"the server closes the connection: write rediss:// if it wants TLS, and check that it is a Redis",
		"服务器关闭了连接：如果需要 TLS 请写 rediss://，并确认对方是 Redis",
	}},
	{isUnreachable, Advice{
		"unreachable",
		"Redis does not answer: check that it runs, its host and port, the firewall, and that it has TLS where the URL says rediss://",
		"Redis 没有应答：请检查其是否运行、主机与端口、防火墙，以及 URL 写 rediss:// 时其是否启用了 TLS",
	}},
}

// Explained implements Explainer: it returns an error of the client's as it may be
// shown, with the cure where that is known.
func (s *Redis) Explained(err error) error {
	return explainedRedis(err, s.secrets, s.Prefix)
}

func explainedRedis(err error, secrets redisSecrets, prefix string) error {
	if err == nil {
		return nil
	}
	shown := &redactedError{secrets.redact(err.Error()), err}
	if advice, ok := adviceOf(err); ok {
		r := strings.NewReplacer("<prefix>", prefix)
		advice.English, advice.Chinese = r.Replace(advice.English), r.Replace(advice.Chinese)
		return &RefusalError{Advice: advice, Err: shown}
	}
	return shown
}

func adviceOf(err error) (Advice, bool) {
	if reply, ok := redisReply(err); ok {
		for _, c := range redisAdvice {
			for _, sign := range c.signs {
				if strings.Contains(reply, sign) {
					return c.Advice, true
				}
			}
		}
		return Advice{}, false
	}
	for _, c := range redisNetAdvice {
		if c.is(err) {
			return c.Advice, true
		}
	}
	return Advice{}, false
}

// redisReply returns what the server itself has answered.
func redisReply(err error) (string, bool) {
	reply, ok := errors.AsType[redis.Error](err)
	if !ok {
		return "", false
	}
	return reply.Error(), true
}

func isTLSError(err error) bool {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}

func isNoSuchHost(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func isUnreachable(err error) bool {
	_, ok := errors.AsType[*net.OpError](err)
	return ok || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, redis.ErrPoolTimeout)
}

// redactedError is an error whose text may be shown.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }

// redisSecrets are what no output may hold, in every form that a URL or an error
// can have them in.
type redisSecrets []string

// leastSecret is the length of what is looked for. A shorter one would be found
// in every sentence.
const leastSecret = 4

func newRedisSecrets(passwords ...string) redisSecrets {
	var secrets redisSecrets
	for _, password := range passwords {
		for _, form := range []string{password, url.QueryEscape(password), url.PathEscape(password), url.UserPassword("", password).String()[1:]} {
			if len(form) >= leastSecret {
				secrets = append(secrets, form)
			}
		}
	}
	return secrets
}

// redact removes the secrets, and the arguments that Redis repeats when it does
// not know a command: those of AUTH are a password.
func (secrets redisSecrets) redact(text string) string {
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "REDACTED")
	}
	text, _, _ = strings.Cut(text, ", with args beginning with")
	return text
}
