<?php

// What a PHP application does, with WeChat's hosts written into it.
//
//	php -d curl.cainfo=<root> curl.php <appid> <secret>

function call(string $url): array
{
    $curl = curl_init($url);
    curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 20]);
    $body = curl_exec($curl);
    if ($body === false) {
        fwrite(STDERR, curl_error($curl) . "\n");
        exit(1);
    }
    return json_decode($body, true, 512, JSON_THROW_ON_ERROR);
}

[, $appid, $secret] = $argv;
$token = call("https://api.weixin.qq.com/cgi-bin/token?grant_type=client_credential&appid=$appid&secret=$secret");
foreach (['https://api.weixin.qq.com', 'http://file.api.weixin.qq.com'] as $base) {
    $users = call("$base/cgi-bin/user/get?access_token={$token['access_token']}");
    if (!($users['total'] ?? 0)) {
        fwrite(STDERR, json_encode($users) . "\n");
        exit(1);
    }
}
